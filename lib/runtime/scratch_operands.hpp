// Operands to time a kernel with, where there is no model to take them from: values that the operation may meet, and masks
// with as many live terms as training leaves, because the time of kernels that skip dead terms depends on them.
#pragma once
#include <vector>

#include "tenon/array.hpp"
#include "tenon/op.hpp"

namespace tenon {

/// Share of live positions before a fused 2x2 pool that training reaches within an epoch; a window has one winner, so that
/// 0.25 is the most.
inline constexpr double usual_pooled_share = 0.04;

/// The epilogue that a contraction's gradient undoes by its third operand, the mask or the output; nullptr for an operation
/// that reads none.
[[nodiscard]] const op::Epilogue* gate_of(const op::AnyOp&);

/// Share of the terms of a gradient that its saved value leaves alive; 1 where nothing gates them.
///   after a 2x2 pool            `pooled`
///   mask without a pool         0.25: relu and a dropout of one half
///   relu, read from the output  0.5
[[nodiscard]] double alive_share(const op::AnyOp&, double pooled = usual_pooled_share);

/// Draws that operand, with alive_share() of the positions before a pool alive.
void draw_saved(const op::AnyOp&, Array& saved, double pooled = usual_pooled_share);

/// All operands, the same in every call: floats in [-1, 1) or where the operation is defined, labels and ids in their
/// range, masks and winners that the forward operation could have left.
[[nodiscard]] std::vector<Array> scratch_operands(const op::AnyOp&, const std::vector<TensorSpec>& in);

}  // namespace tenon
