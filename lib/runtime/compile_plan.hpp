// From a model to a plan: the passes, in order.
#pragma once
#include "lib/nn/trace.hpp"
#include "lib/runtime/plan.hpp"

namespace tenon {

/// What a plan is for. `accumulate` is a training step that adds its gradients and leaves the parameters alone.
enum class PlanMode : std::uint8_t { train, accumulate, evaluate, predict };

[[nodiscard]] Plan compile_plan(const Model&, const CompileOptions&, const RowSet&, PlanMode, std::int64_t batch,
                                Tuner* = nullptr);

/// Parameters that `frozen` leaves to the optimizer, with their group's treatment. Throws UsageError for a pattern that
/// matches nothing.
[[nodiscard]] std::vector<std::size_t> trainable_parameters(const Parameters&, const CompileOptions&);

}  // namespace tenon
