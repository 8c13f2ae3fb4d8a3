// The inner block of every bf16 kernel: z (32 x 32) += A (rows of bf16) B (packed tiles), four tiles of z, two of A and
// two of B. A may be a matrix of packed tiles or pixels of an image: its rows are `a_row` apart, and k runs over taps
// and, inside a tap, over steps of 32 terms.
// Fewer rows or columns: one tile instead of two in that direction. Tiles are always whole, as a multiplication takes
// its 16 cycles whatever they hold: what lies beyond the last row or column is computed and left in z, where nobody looks.
// With `split` operands A and B are two matrices each, of upper and of lower halves (bf16_pack.hpp), those of B one behind the
// other for every 32 terms, and z += upper upper + upper lower + lower upper: 2^-16 of a product is missing, and as much
// is rounded away on either side.
// Order: one chain over k per element of z, 32 terms at a time. z may pause in memory, so blocks change no bit.
#pragma once
#include "kernels/cpu/micro/bf16_pack.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Rows and columns of a block, and floats from one row of z to the next.
inline constexpr std::int64_t block_side = 32;

struct BlockArgs {
  const Bf16* a;              // first row, first term
  std::int64_t a_row;         // bf16s from row to row
  std::int64_t a_below;       // to the second tile of rows
  std::int64_t a_step;        // from 32 terms to the next 32
  std::int64_t a_lower;       // from upper halves to lower ones
  const std::int64_t* taps;   // where each tap begins, in bf16s
  std::int64_t count, steps;  // taps; steps of 32 terms in each
  const Bf16* b;              // [taps steps][tiles across][tile]
  std::int64_t b_step;        // from 32 terms to the next
  float* z;
  bool go_on;  // from what is in z, else from 0
};
/// The only tap of a matrix.
inline constexpr std::int64_t no_taps[1] = {0};
/// Matrices that an operand is packed as: itself rounded, or its two halves.
template <bool split>
constexpr std::int64_t parts = split ? 2 : 1;

template <int down, int across, bool split>
void block(const BlockArgs& g) {
  const std::int64_t z_row = block_side * sizeof(float), a_row = g.a_row * 2, b_row = 64;
  float* below = g.z + tile_rows * block_side;
  if (g.go_on) {
    load_tile<0>(g.z, z_row);
    if constexpr (across > 1) load_tile<1>(g.z + tile_columns, z_row);
    if constexpr (down > 1) load_tile<2>(below, z_row);
    if constexpr (down > 1 && across > 1) load_tile<3>(below + tile_columns, z_row);
  } else {
    zero_tile<0>();
    if constexpr (across > 1) zero_tile<1>();
    if constexpr (down > 1) zero_tile<2>();
    if constexpr (down > 1 && across > 1) zero_tile<3>();
  }
  const Bf16* b = g.b;
  for (std::int64_t t = 0; t < g.count; ++t) {
    const Bf16* a = g.a + g.taps[t];
    for (std::int64_t s = 0; s < g.steps; ++s, a += g.a_step, b += g.b_step) {
      load_tile<6>(b, b_row);
      load_tile<4>(a, a_row);
      dot_bf16<0, 4, 6>();
      if constexpr (down > 1) {
        load_tile<5>(a + g.a_below, a_row);
        dot_bf16<2, 5, 6>();
      }
      if constexpr (across > 1) {
        load_tile<7>(b + tile_bf16s, b_row);
        dot_bf16<1, 4, 7>();
      }
      if constexpr (down > 1 && across > 1) dot_bf16<3, 5, 7>();
      if constexpr (!split) continue;
      const Bf16* lower = b + across * tile_bf16s;
      load_tile<6>(lower, b_row);
      dot_bf16<0, 4, 6>();
      if constexpr (down > 1) dot_bf16<2, 5, 6>();
      if constexpr (across > 1) {
        load_tile<7>(lower + tile_bf16s, b_row);
        dot_bf16<1, 4, 7>();
      }
      if constexpr (down > 1 && across > 1) dot_bf16<3, 5, 7>();
      load_tile<6>(b, b_row);
      load_tile<4>(a + g.a_lower, a_row);
      dot_bf16<0, 4, 6>();
      if constexpr (down > 1) {
        load_tile<5>(a + g.a_lower + g.a_below, a_row);
        dot_bf16<2, 5, 6>();
      }
      if constexpr (across > 1) {
        load_tile<7>(b + tile_bf16s, b_row);
        dot_bf16<1, 4, 7>();
      }
      if constexpr (down > 1 && across > 1) dot_bf16<3, 5, 7>();
    }
  }
  store_tile<0>(g.z, z_row);
  if constexpr (across > 1) store_tile<1>(g.z + tile_columns, z_row);
  if constexpr (down > 1) store_tile<2>(below, z_row);
  if constexpr (down > 1 && across > 1) store_tile<3>(below + tile_columns, z_row);
}

/// The block for so many rows and columns, up to 32.
template <bool split = false>
TENON_INLINE void multiply_block(const BlockArgs& g, std::int64_t rows, std::int64_t columns) {
  if (rows > tile_rows)
    columns > tile_columns ? block<2, 2, split>(g) : block<2, 1, split>(g);
  else
    columns > tile_columns ? block<1, 2, split>(g) : block<1, 1, split>(g);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
