// Minibatches and epochs as metrics of a run.
#include <string>

#include "lib/train/hooks/format.hpp"
#include "tenon/track_hook.hpp"

namespace tenon {

void TrackHook::on_begin(std::int64_t steps_per_epoch, std::int32_t epochs) {
  names_.clear();
  run_.log_params({{"epochs", std::to_string(epochs)}, {"steps_per_epoch", std::to_string(steps_per_epoch)}});
}

void TrackHook::on_steps(std::span<const StepRecord> records, TrainControl&) {
  for (const StepRecord& r : records) {
    values_.clear();
    // Names are views: the texts are made once and stay.
    while (names_.size() < r.metrics.size()) names_.push_back("step/" + r.metrics[names_.size()].name);
    values_.push_back({"step/loss", r.loss});
    for (std::size_t i = 0; i < r.metrics.size(); ++i) values_.push_back({names_[i], r.metrics[i].value});
    values_.push_back({"step/lr", r.learning_rate});
    run_.log_steps(r.step, values_);
  }
}

void TrackHook::on_epoch(const EpochRecord& e, TrainControl&) {
  for (const NamedValue& figure : detail::figures_of(e)) run_.log("epoch/" + figure.name, figure.value, e.epoch);
  run_.log("epoch/lr", e.learning_rate, e.epoch);
  run_.log("epoch/seconds", e.seconds, e.epoch);
  if (e.seconds > 0) run_.log("epoch/examples_per_second", static_cast<double>(e.examples) / e.seconds, e.epoch);
}

void TrackHook::on_end(const Summary& summary) {
  run_.flush();
  if (summary.stopped_early && !summary.halted) run_.tag("stopped_early", summary.reason);
  if (!options_.end_run) return;
  if (summary.halted)
    run_.fail(summary.reason);
  else
    run_.complete();
}

}  // namespace tenon
