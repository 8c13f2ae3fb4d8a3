// Keras' progress line. While an epoch runs it shows the means so far and the time that is left; at its end the epoch's
// own figures and the time it took.
#include <algorithm>

#include "lib/train/hooks/format.hpp"
#include "tenon/hooks.hpp"

namespace tenon {
namespace {

using namespace detail;
constexpr int bar_cells = 20;
constexpr double redraw_seconds = 0.1;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string line(std::int64_t done, std::int64_t steps, const std::string& time, double step_seconds,
                 const std::vector<NamedValue>& figures) {
  // An epoch that ended early, or that nobody could count beforehand, has its own length.
  const std::string all = fmt::format("{}", std::max(done, steps));
  const auto filled = done >= steps ? bar_cells : static_cast<int>(done * bar_cells / steps);
  std::string text =
      fmt::format("{:>{}}/{} {} {} {}", done, all.size(), all, bar(filled, bar_cells), time, per_step(step_seconds));
  for (const NamedValue& f : figures) text += fmt::format(" - {}: {}", f.name, figure(f.value));
  return text;
}

}  // namespace

KerasProgress::KerasProgress(std::FILE* out, bool terminal, Clock clock)
    : out_(out), terminal_(terminal), clock_(clock ? std::move(clock) : Clock(steady_seconds)) {}

void KerasProgress::on_begin(std::int64_t steps_per_epoch, std::int32_t epochs) {
  steps_per_epoch_ = steps_per_epoch;
  epochs_ = epochs;
  epoch_ = -1;
  // The first records arrive when the first steps are over.
  began_ = clock_();
}

void KerasProgress::begin_epoch(std::int32_t epoch) {
  epoch_ = epoch;
  done_ = 0;
  examples_ = 0;
  sums_.clear();
  put(out_, fmt::format("Epoch {}/{}\n", epoch + 1, std::max(epochs_, epoch + 1)));
}

void KerasProgress::on_steps(std::span<const StepRecord> records, TrainControl&) {
  for (const StepRecord& r : records) {
    if (r.epoch != epoch_) begin_epoch(r.epoch);
    if (sums_.empty()) {
      sums_.push_back({"loss", 0});
      for (const NamedValue& m : r.metrics) sums_.push_back({m.name, 0});
    }
    const auto n = static_cast<double>(r.examples);
    sums_[0].value += n * r.loss;
    for (std::size_t i = 0; i < r.metrics.size() && i + 1 < sums_.size(); ++i)
      sums_[i + 1].value += n * r.metrics[i].value;
    examples_ += n;
    ++done_;
  }
  const double now = clock_();
  if (terminal_ && done_ < steps_per_epoch_ && (!line_open_ || now - drawn_ >= redraw_seconds)) draw(now);
}

void KerasProgress::draw(double now) {
  std::vector<NamedValue> means = sums_;
  for (NamedValue& m : means) m.value /= std::max(examples_, 1.0);
  const double step = (now - began_) / static_cast<double>(std::max<std::int64_t>(done_, 1));
  const double left = step * static_cast<double>(steps_per_epoch_ - done_);
  put(out_, "\r" + line(done_, steps_per_epoch_, duration(left), step, means) + "\x1b[K");
  line_open_ = true;
  drawn_ = now;
}

void KerasProgress::on_epoch(const EpochRecord& e, TrainControl&) {
  if (e.epoch != epoch_) begin_epoch(e.epoch);
  const double step = e.seconds / static_cast<double>(std::max<std::int64_t>(e.steps, 1));
  const std::string text = line(e.steps, e.steps, duration(e.seconds), step, figures_of(e));
  put(out_, line_open_ ? "\r" + text + "\x1b[K\n" : text + "\n");
  line_open_ = false;
  began_ = clock_();
}

void KerasProgress::on_end(const Summary&) {
  if (line_open_) put(out_, "\n");
  line_open_ = false;
}

}  // namespace tenon
