// What the error bounds of all operations are made of (error_bound.cpp says where they come from), and those of the
// softmax family, which lie in a file of their own.
#pragma once
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "lib/train/row_check.hpp"
#include "tenon/op.hpp"

namespace tenon::bound {

/// Unit roundoff of f32.
inline constexpr double u = 0x1p-24;
inline constexpr double floor_ = 0x1p-120;  // below it underflow decides

/// Of the bounds of sums: how far beyond the random walk of its roundings a sum may end. The worst of all rows and random
/// cases of kernels_test is 0.3 of that.
inline constexpr double margin = 3;
/// The same for the user's operations, of which nothing is known but the shapes.
inline constexpr double custom_margin = 8;

using In = std::vector<Array>;

inline std::span<const double> f64(const Array& a) { return a.values<double>(); }

/// f(i) for every element, in the shape of `like`.
Array map(const Array& like, const auto& f) {
  Array out(DType::f64, like.shape());
  auto v = out.values<double>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = f(i);
  return out;
}
/// The bound that is a fraction of every element's size.
inline Array scaled(const Array& a, double by) {
  return map(a, [&, v = f64(a)](std::size_t i) { return by * std::abs(v[i]) + floor_; });
}
inline Array absolute(const Array& a) {
  return a.dtype() == DType::f64 ? map(a, [v = f64(a)](std::size_t i) { return std::abs(v[i]); }) : a;
}

/// One operation with its operands, its exact results and the terms of its sums.
struct Work {
  const op::AnyOp& any;
  const In &in, &exact;
  const Control& control;
  double terms;
  Arithmetic arithmetic;

  [[nodiscard]] double sum_factor(double by = margin) const { return by * (std::sqrt(terms) + 2) * u; }
  /// What a product loses where its operands are rounded first, (1 + 2^-8)^2 - 1 or (1 + 2^-11)^2 - 1. Of split operands the
  /// product of the lower halves is missing, 2^-8 each, and 2^-16 is rounded away on either side.
  [[nodiscard]] double rounding() const {
    switch (arithmetic) {
      case Arithmetic::bf16:
        return 0x1p-7 + 0x1p-16;
      case Arithmetic::tf32:
      case Arithmetic::fp16:
        return 0x1p-10 + 0x1p-22;
      case Arithmetic::split:
        return 3 * 0x1p-16 + 0x1p-22;
      default:
        return 0;
    }
  }
  /// What a rounded operand is off by, absolute, beside that: a number of fp16 below 2^-14 is a multiple of 2^-24.
  [[nodiscard]] double granularity() const { return arithmetic == Arithmetic::fp16 ? 0x1p-25 + 0x1p-36 : 0; }
  /// The operation on other operands.
  [[nodiscard]] std::vector<Array> run(const op::AnyOp& other, const In& operands) const {
    return run_reference(other, operands, control).out;
  }
  [[nodiscard]] In absolute_in() const {
    In out;
    for (const Array& a : in) out.push_back(absolute(a));
    return out;
  }
  /// Every output by the sum over absolute values.
  [[nodiscard]] std::vector<Array> sums(const op::AnyOp& other, const In& operands) const {
    std::vector<Array> bounds;
    for (const Array& s : run(other, operands))
      bounds.push_back(s.dtype() == DType::f64 ? scaled(s, sum_factor()) : Array{});
    return bounds;
  }
  [[nodiscard]] std::vector<Array> relative(double by = 24 * u) const {
    std::vector<Array> bounds;
    for (const Array& e : exact) bounds.push_back(e.dtype() == DType::f64 ? scaled(e, by) : Array{});
    return bounds;
  }
};

/// True where a row of that arithmetic may take the convolution by F(4x4, 3x3).
[[nodiscard]] bool winograd_takes(const op::Conv2d&, const Shape& filter);
/// Its sums over absolute values, in the shape of the output before any pool.
[[nodiscard]] Array winograd_sums(const op::Conv2d&, const Array& x, const Array& filter, const Shape& y);

/// Softmax, or its logarithm, of the last axis.
[[nodiscard]] Array softmax(const Array& logits, const Array& y, bool log);
[[nodiscard]] std::vector<Array> softmax_gradient(const Work&, bool log);
/// Of the loss and of the probabilities that it saves.
[[nodiscard]] std::vector<Array> crossentropy(const Work&);
[[nodiscard]] std::vector<Array> crossentropy_gradient(const Work&);

}  // namespace tenon::bound
