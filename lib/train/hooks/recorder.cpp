// Every minibatch's loss and metrics as lists.
#include "lib/train/hooks/format.hpp"
#include "tenon/error.hpp"
#include "tenon/hooks.hpp"

namespace tenon {

void Recorder::on_steps(std::span<const StepRecord> records, TrainControl&) {
  for (const StepRecord& r : records) {
    losses.push_back(r.loss);
    if (metrics_.empty())
      for (const NamedValue& m : r.metrics) metrics_.emplace_back(m.name, std::vector<double>{});
    for (std::size_t i = 0; i < metrics_.size() && i < r.metrics.size(); ++i)
      metrics_[i].second.push_back(r.metrics[i].value);
  }
}

const std::vector<double>& Recorder::metric(std::string_view name) const {
  std::vector<std::string_view> names;
  for (const auto& [own, values] : metrics_) {
    if (own == name) return values;
    names.push_back(own);
  }
  throw UsageError(fmt::format("[recorder] no metric '{}' among: {}", name, fmt::join(names, ", ")));
}

}  // namespace tenon
