// Decisions by the figures of an epoch or the loss of a step: when to stop.
#include <cmath>

#include "lib/train/hooks/format.hpp"
#include "tenon/hooks.hpp"

namespace tenon {

EarlyStopping::EarlyStopping(EarlyStoppingOptions o)
    : monitor_(std::move(o.monitor), o.min_delta, o.better), patience_(o.patience) {}

void EarlyStopping::on_epoch(const EpochRecord& e, TrainControl& control) {
  waited_ = monitor_.improved(e) ? 0 : waited_ + 1;
  if (waited_ > 0 && waited_ >= patience_)
    control.stop(fmt::format("{} did not improve for {} {}, best {}", monitor_.name(), waited_,
                             waited_ == 1 ? "epoch" : "epochs", detail::figure(monitor_.best())));
}

void StopOnNan::on_steps(std::span<const StepRecord> records, TrainControl& control) {
  for (const StepRecord& r : records)
    if (!std::isfinite(r.loss)) {
      control.stop(fmt::format("loss is {} at step {}", detail::number(r.loss), r.step));
      return;
    }
}

}  // namespace tenon
