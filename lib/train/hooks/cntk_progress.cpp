// CNTK's progress lines: the loss and the error of single minibatches.
#include "lib/train/hooks/format.hpp"
#include "tenon/hooks.hpp"

namespace tenon {

void CntkProgress::on_steps(std::span<const StepRecord> records, TrainControl&) {
  for (const StepRecord& r : records) {
    if (r.step % every_ != 0) continue;
    std::string text = fmt::format("Minibatch: {}, Loss: {}", r.step,
                                   std::isfinite(r.loss) ? fmt::format("{:.4f}", r.loss) : detail::number(r.loss));
    for (const NamedValue& m : r.metrics)
      if (m.name == "error_rate" || m.name == "accuracy") {
        text += ", Error: " + detail::percent(m.name == "accuracy" ? 1 - m.value : m.value);
        break;
      }
    detail::put(out_, text + "\n");
  }
}

}  // namespace tenon
