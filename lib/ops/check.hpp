// Checks and costs that the shape rules share.
#pragma once
#include <fmt/format.h>

#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon {

template <class... Args>
[[noreturn]] void reject(std::string_view op, fmt::format_string<Args...> text, Args&&... args) {
  throw UsageError(fmt::format("[{}] {}", op, fmt::format(text, std::forward<Args>(args)...)));
}

inline void require_operands(std::string_view op, Specs in, std::size_t count) {
  if (in.size() != count) reject(op, "expects {} operands, found {}", count, in.size());
}
inline void require_rank(std::string_view op, const char* what, const TensorSpec& spec, int rank) {
  if (spec.shape.rank() != rank) reject(op, "{} expects rank {}, found {}", what, rank, spec.shape.str());
}
inline bool is_float(DType d) { return d == DType::f32 || d == DType::f64; }
inline void require_float(std::string_view op, const char* what, const TensorSpec& spec) {
  if (!is_float(spec.dtype)) reject(op, "{} expects floating point, found {}", what, spec.str());
}
inline void require_same_dtype(std::string_view op, const TensorSpec& a, const TensorSpec& b) {
  if (a.dtype != b.dtype) reject(op, "operands expect one element type, found {} and {}", a.str(), b.str());
}
inline void require_same(std::string_view op, const char* what, const TensorSpec& found, const TensorSpec& expected) {
  if (found != expected) reject(op, "{} expects {}, found {}", what, expected.str(), found.str());
}

/// An axis of `s` counted from the front; a negative one counts from the end.
inline int axis_of(std::string_view op, const Shape& s, int axis) {
  const int a = axis < 0 ? axis + s.rank() : axis;
  if (a < 0 || a >= s.rank()) reject(op, "axis {} expected to lie in {}", axis, s.str());
  return a;
}

/// Bytes when every operand crosses memory once.
inline double traffic(Specs in, Specs out) {
  double bytes = 0;
  for (const TensorSpec& s : in) bytes += static_cast<double>(s.bytes());
  for (const TensorSpec& s : out) bytes += static_cast<double>(s.bytes());
  return bytes;
}
/// `flops` operations for each element of the first output.
inline Cost per_element(double flops, Specs in, Specs out) {
  return {flops * static_cast<double>(out[0].shape.elements()), traffic(in, out)};
}

/// Graph of a builder's first operand, checked to be that of the others.
inline Graph& graph_of(std::string_view op, Tensor a, Tensor b) {
  if (&a.graph() != &b.graph()) reject(op, "operands expect one graph, found two");
  return a.graph();
}

}  // namespace tenon
