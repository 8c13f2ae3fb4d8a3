// Small words shared by the binding code: reasons for refusing, and layouts with their neighbouring axes merged.
#pragma once
#include <optional>
#include <string>

#include "kernels/bind/rows.hpp"

namespace tenon::bind {

inline Refusal refuse_dtype(const char* expected, int operand, DType found) {
  return {"operand " + std::to_string(operand) + " expects " + expected + ", found " + name_of(found)};
}
/// A reason where one of the first `count` operands is not f32.
inline std::optional<Refusal> refuse_unless_f32(const Problem& p, int count) {
  for (int i = 0; i < count && i < p.ins; ++i) {
    if (p.in[i].dtype != DType::f32) return refuse_dtype("f32", i, p.in[i].dtype);
  }
  return std::nullopt;
}

/// Row-major extents with one stride each.
struct Layout {
  std::int32_t rank = 0;
  std::int64_t extent[Shape::max_rank] = {}, stride[Shape::max_rank] = {};

  /// Appends an axis inside the others; one of extent 1 is dropped, one that continues its neighbour joins it.
  void append(std::int64_t e, std::int64_t s) {
    if (e == 1) return;
    if (rank > 0 && stride[rank - 1] == s * e) {
      extent[rank - 1] *= e;
      stride[rank - 1] = s;
      return;
    }
    extent[rank] = e;
    stride[rank++] = s;
  }
  /// A single element has one axis all the same.
  void finish() {
    if (rank > 0) return;
    extent[0] = stride[0] = 1;
    rank = 1;
  }
};

/// Stride of an axis of a dense row-major value.
inline std::int64_t dense_stride(const Shape& s, int axis) { return s.product(axis + 1, s.rank()); }

}  // namespace tenon::bind
