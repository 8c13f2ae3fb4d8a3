// Whole operands packed for blocks of 32 x 32 (bf16_block.hpp). A left one lies as [block of 32 rows][32 terms][half][tile of 16
// rows], a right one as [panel of 32 columns][32 terms][half][tile of 16 columns]: what the inner loop reads, it reads
// from start to end. Zero along the terms, where a tile has more than there are.
#pragma once
#include "kernels/cpu/micro/bf16_block.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// bf16s of a block of rows, or of a panel, of so many steps of 32 terms.
template <bool split>
TENON_INLINE std::int64_t block_bf16s(std::int64_t steps) {
  return 2 * parts<split> * tile_bf16s * steps;
}

/// Row `r` of a block whose rows are neighbours along the terms.
template <bool split>
TENON_INLINE void pack_row(const float* from, std::int64_t terms, std::int64_t r, Bf16* block) {
  Bf16* to = block + r * tile_terms;
  for (std::int64_t k = 0; k < terms; k += tile_terms, to += block_bf16s<split>(1)) {
    round_row<Upper>(from + k, terms - k, to, tile_terms);
    if constexpr (split) round_row<Lower>(from + k, terms - k, to + 2 * tile_bf16s, tile_terms);
  }
}

/// Some columns (at most 32) of 32 terms, of which `count` are there; the element (term, column) lies at `from + term *
/// term_step + column * column_step`, and one of the steps is 1.
template <class Half>
TENON_INLINE void pack_right_step(const float* from, std::int64_t count, std::int64_t term_step, std::int64_t columns,
                                  std::int64_t column_step, Bf16* to) {
  for (std::int64_t j0 = 0; j0 < columns; j0 += tile_columns, to += tile_bf16s) {
    const std::int64_t there = columns - j0;
    const float* corner = from + j0 * column_step;
    if (column_step == 1) {
      const auto row = [&](std::int64_t t) { return t < count ? corner + t * term_step : nullptr; };
      for (std::int64_t t = 0; t < tile_terms; t += 2)
        pair_rows<Half>(row(t), row(t + 1), there, to + t * tile_columns, tile_columns);
      continue;
    }
    for (std::int64_t j = 0; j < tile_columns; j += width)
      for (std::int64_t t = 0; t < tile_terms; t += 2 * width)
        turn_pairs<Half>(corner + j * column_step + t, column_step, there - j, count - t, to + t * tile_columns + 2 * j,
                         2 * tile_columns);
  }
}
/// Bf16s from 32 terms to the next where a panel has so many columns.
template <bool split>
TENON_INLINE std::int64_t right_step(std::int64_t columns) {
  return blocks_of(columns, tile_columns) * tile_bf16s * parts<split>;
}
/// A panel, or a tap of one; returns its end.
template <bool split>
TENON_INLINE Bf16* pack_right(const float* from, std::int64_t terms, std::int64_t term_step, std::int64_t columns,
                              std::int64_t column_step, Bf16* to) {
  const std::int64_t step = right_step<split>(columns);
  for (std::int64_t k = 0; k < terms; k += tile_terms, to += step) {
    const float* corner = from + k * term_step;
    pack_right_step<Upper>(corner, terms - k, term_step, columns, column_step, to);
    if constexpr (split) pack_right_step<Lower>(corner, terms - k, term_step, columns, column_step, to + step / 2);
  }
  return to;
}

/// Pieces of work that threads claim one by one: two processors are seldom equally fast. The counter lies in memory that all
/// share; one thread resets it, and a barrier follows.
struct Claims {
  std::int64_t* next;
  TENON_MEMBER void reset() const { *next = 0; }
  TENON_MEMBER std::int64_t claim() const { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }
};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
