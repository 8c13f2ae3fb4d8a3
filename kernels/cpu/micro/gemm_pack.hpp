// Packing for gemm.cpp: tiles of rows of a and panels of columns of b, so that the inner loop reads both from start to
// end. Where b's columns lie along k (a transposed matrix), squares of width x width turn in registers.
#pragma once
#include "kernels/cpu/micro/gemm_chain.hpp"
#include "kernels/cpu/micro/transpose.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Tiles `which` of a over `terms`, to: [k][rows of the tile] where rows are neighbours in memory, else
/// [row][a_stride].
TENON_INLINE void pack_a(const GemmGeometry& g, const float* a, const Tiles& tiles, Range which, Range terms,
                         float* to) {
  const std::int64_t first = tiles.begin(which.begin);
  const float* from = a + first * g.a_row + terms.begin * g.a_col;
  if (g.a_stride == 0) {
    // k outermost: what is read lies together, what is written goes to one line of each tile.
    for (std::int64_t k = 0; k < terms.size(); ++k)
      for (std::int64_t t = which.begin; t < which.end; ++t) {
        const std::int64_t row = tiles.begin(t) - first, height = tiles.begin(t + 1) - tiles.begin(t);
        const float* line = from + k * g.a_col + row;
        float* packed = to + row * terms.size() + k * height;
        // Terms are far apart, and no hardware guesses that these rows' neighbours come next.
        __builtin_prefetch(line + (tiles.begin(which.end) - first), 0, 2);
        // What a whole vector writes behind its tile belongs to the next k, which comes later; partial stores are slow.
        if (k + 1 < terms.size() && first + row + width * blocks_of(height, width) <= g.m) {
          for (std::int64_t r = 0; r < height; r += width) Simd::store(packed + r, Simd::load(line + r));
          continue;
        }
        for_each_lanes(height, [&](std::int64_t r, auto lanes) { lanes.store(packed + r, lanes.load(line + r)); });
      }
    return;
  }
  for (std::int64_t r = 0; r < tiles.begin(which.end) - first; ++r) {
    float* line = to + r * g.a_stride;
    if (g.a_col == 1)
      std::memcpy(line, from + r * g.a_row, static_cast<std::size_t>(terms.size()) * sizeof(float));
    else
      for (std::int64_t k = 0; k < terms.size(); ++k) line[k] = from[r * g.a_row + k * g.a_col];
  }
}

/// `columns` (at most a panel) of b over `terms`, to: [k][panel], zero behind the last column.
TENON_INLINE void pack_b(const GemmGeometry& g, const float* b, Range columns, Range terms, float* to) {
  const float* from = b + columns.begin * g.b_col + terms.begin * g.b_row;
  if (g.b_col == 1) {
    constexpr std::int64_t ahead = 16;
    for (std::int64_t k = 0; k < terms.size(); ++k) {
      for (int j = 0; j < panel; j += 16) __builtin_prefetch(from + (k + ahead) * g.b_row + j, 0, 2);
      if (columns.size() < panel)
        for (int j = 0; j < panel; j += width) Simd::store(to + k * panel + j, Vf{});
      for_each_lanes(columns.size(), [&](std::int64_t j, auto lanes) {
        lanes.store(to + k * panel + j, lanes.load(from + k * g.b_row + j));
      });
    }
    return;
  }
  for (std::int64_t half = 0; half < panel; half += width) {
    const std::int64_t count = smaller(columns.size() - half, width);
    std::int64_t k = 0;
    if (g.b_row == 1 && count > 0)
      for (; k + width <= terms.size(); k += width)
        transpose_square(from + half * g.b_col + k, g.b_col, count, to + k * panel + half, panel);
    for (; k < terms.size(); ++k)
      for (std::int64_t j = 0; j < width; ++j)
        to[k * panel + half + j] = j < count ? from[(half + j) * g.b_col + k * g.b_row] : 0.f;
  }
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
