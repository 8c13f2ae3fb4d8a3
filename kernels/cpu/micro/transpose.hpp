// Squares of width x width floats turned in registers: log2(width) rounds in which pairs of rows exchange blocks.
#pragma once
#include <utility>

#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Rows whose numbers differ in bit `block` exchange what lies off the diagonal. Lane l of a new row comes from the one
/// above (0..width-1) or the one below (width..).
template <int block, int... l>
TENON_INLINE void exchange(Vf* rows, std::integer_sequence<int, l...>) {
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) {
    if ((i & block) != 0) continue;
    const Vf above = rows[i], below = rows[i + block];
    rows[i] = __builtin_shufflevector(above, below, ((l & block) == 0 ? l : l - block + width)...);
    rows[i + block] = __builtin_shufflevector(above, below, ((l & block) == 0 ? l + block : l + width)...);
  }
}

/// Rows become columns.
TENON_INLINE void turn_square(Vf* square) {
  constexpr std::make_integer_sequence<int, width> lanes;
  exchange<1>(square, lanes);
  exchange<2>(square, lanes);
  if constexpr (width > 4) exchange<4>(square, lanes);
  if constexpr (width > 8) exchange<8>(square, lanes);
}

/// to[j * to_stride + i] = from[i * from_stride + j] for i < rows and j < width; i in [rows, width) become 0.
TENON_INLINE void transpose_square(const float* from, std::int64_t from_stride, std::int64_t rows, float* to,
                                   std::int64_t to_stride) {
  Vf square[width];
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) square[i] = i < rows ? Simd::load(from + i * from_stride) : Vf{};
  turn_square(square);
#pragma GCC unroll 16
  for (int j = 0; j < width; ++j) Simd::store(to + j * to_stride, square[j]);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
