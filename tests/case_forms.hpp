// Cases from attributes and extents: operands, their fills, and what the gradient operations save.
#pragma once
#include "tests/cases.hpp"

namespace tenon::tests::form {

using std::int64_t;

[[nodiscard]] Case conv2d(const op::Conv2d&, const Shape& x, const Shape& filter);
[[nodiscard]] Case conv2d_grad_input(const op::Conv2d&, const Shape& x, const Shape& filter);
[[nodiscard]] Case conv2d_grad_filter(const op::Conv2d&, const Shape& x, const Shape& filter);
/// (m,k) times (k,n), before the transposes.
[[nodiscard]] Case matmul(const op::MatMul&, int64_t m, int64_t n, int64_t k);
[[nodiscard]] Case matmul_grad_a(const op::MatMul&, int64_t m, int64_t n, int64_t k);
[[nodiscard]] Case matmul_grad_b(const op::MatMul&, int64_t m, int64_t n, int64_t k);
[[nodiscard]] Case pool2d(const op::Pool2d&, const Shape& x);
[[nodiscard]] Case pool2d_grad(const op::Pool2d&, const Shape& x);
[[nodiscard]] Case unary(const op::Unary&, const Shape&);
[[nodiscard]] Case unary_grad(const op::Unary&, const Shape&);
[[nodiscard]] Case binary(op::BinaryFn, const Shape& a, const Shape& b);
[[nodiscard]] Case pointwise_chain(const op::PointwiseChain&, const std::vector<Shape>& operands);
[[nodiscard]] Case bias_add(const Shape& x);
[[nodiscard]] Case bias_grad(const Shape& x);
[[nodiscard]] Case softmax(bool log, const Shape&);
[[nodiscard]] Case softmax_grad(bool log, const Shape&);
/// Target of element type i32 or u8: labels; f32: probabilities.
[[nodiscard]] Case softmax_crossentropy(int64_t n, int64_t c, DType target);
[[nodiscard]] Case softmax_crossentropy_grad(int64_t n, int64_t c, DType target);
[[nodiscard]] Case correct(int64_t n, int64_t c, DType target);
/// SigmoidCrossEntropy, BinaryCrossEntropy and their gradients.
[[nodiscard]] Case pair_loss(op::Kind, const Shape&);
[[nodiscard]] Case dropout(float rate, std::int32_t site, const Shape&);
[[nodiscard]] Case dropout_grad(float rate, const Shape&);
[[nodiscard]] Case transpose(const op::Transpose&, const Shape&);
[[nodiscard]] Case concat(std::int32_t axis, const std::vector<Shape>& parts);
[[nodiscard]] Case slice(const op::Slice&, const Shape& x);
[[nodiscard]] Case slice_grad(const op::Slice&, const Shape& x);
[[nodiscard]] Case gather(const Shape& table, const Shape& ids);
[[nodiscard]] Case gather_grad(const Shape& table, const Shape& ids);
[[nodiscard]] Case broadcast_to(const Shape& x, const Shape& y);
[[nodiscard]] Case reduce(const op::Reduce&, const Shape& x);
[[nodiscard]] Case reduce_select_grad(const op::Reduce&, const Shape& x);
/// Optimizer rules, accumulation, clipping, running means, the loss check, on n elements.
[[nodiscard]] Case update(const op::UpdateOp&, int64_t n);

}  // namespace tenon::tests::form
