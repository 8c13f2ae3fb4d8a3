// The register tile of a product: up to 14 (6 with 16 registers) rows of packed a times panels of two vectors of columns of
// b, one FMA chain each over the terms; and rows shared out to tiles.
#pragma once
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

// With few rows there are too few chains in two vectors to hide the latency of an FMA: four panels at once.
constexpr int wide_rows = width == 16 ? 3 : registers == 32 ? 2 : 1, wide_panels = 4;

/// Rows in tiles whose heights differ by at most one, so that the last one is not a sliver.
struct Tiles {
  Range rows;
  std::int64_t count, height, taller;  // the first `taller` tiles have one row more
  TENON_MEMBER std::int64_t begin(std::int64_t t) const { return rows.begin + t * height + smaller(t, taller); }
};
TENON_INLINE Tiles tiles_of(Range rows) {
  const std::int64_t count = blocks_of(rows.size(), tile_height);
  return {rows, count, rows.size() / count, rows.size() % count};
}

/// b as the inner loop reads it: k_step floats from one k to the next, panel_step between panels. `ahead` are columns with
/// the same step that will be read later: a row of them is asked for every unrolled_terms, because rows far apart are
/// guessed by no hardware.
struct Columns {
  const float* at;
  std::int64_t k_step, panel_step;
  const float* ahead{};
};

/// Where a tile's sums go: floats between rows, and between panels.
struct Sums {
  float* at;
  std::int64_t row_step, panel_step;
};

/// sums (rows, vectors) = chains over one chunk, or a piece of it: from what is there, or from 0. The stride between rows
/// of a is a constant, so that every address is one register and a displacement; 0: [k][rows].
template <int rows, int vectors, std::int64_t stride>
void chain(const float* a, const Columns& columns, std::int64_t terms, bool go_on, const Sums& sums) {
  const std::int64_t k_step = columns.k_step, panel_step = columns.panel_step;
  const float* b = columns.at;
  const auto slot = [&](int r, int v) __attribute__((always_inline)) {
    return sums.at + v / 2 * sums.panel_step + r * sums.row_step + v % 2 * width;
  };
  Vf acc[rows][vectors];
  if (go_on)
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::load(slot(r, v));
  else
    clear(acc);
  const auto add = [&](int k) __attribute__((always_inline)) {
    Vf column[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) column[v] = Simd::load(b + v / 2 * panel_step + v % 2 * width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vf x = Simd::set(stride == 0 ? a[k * rows + r] : a[r * stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::fma(x, column[v], acc[r][v]);
    }
    b += k_step;
  };
  const float* ahead = columns.ahead != nullptr ? columns.ahead : b;
  std::int64_t k = 0;
  for (; k + unrolled_terms <= terms; k += unrolled_terms) {
#pragma GCC unroll 2
    for (int j = 0; j < panel; j += 16) __builtin_prefetch(ahead + j, 0, 2);
    ahead += k_step;
#pragma GCC unroll 4
    for (int u = 0; u < unrolled_terms; ++u) add(u);
    a += unrolled_terms * (stride == 0 ? rows : 1);
  }
  for (; k < terms; ++k) {
    add(0);
    a += stride == 0 ? rows : 1;
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) Simd::store(slot(r, v), acc[r][v]);
}

/// By reference: a copy of a struct that was just written piece by piece waits until its pieces, and all that was stored before
/// them, have left the store buffer.
using Chain = void (*)(const float*, const Columns&, std::int64_t, bool, const Sums&);
template <int vectors, std::int64_t stride>
constexpr Chain chains[] = {nullptr,
                            chain<1, vectors, stride>,
                            chain<2, vectors, stride>,
                            chain<3, vectors, stride>,
                            chain<4, vectors, stride>,
                            chain<5, vectors, stride>,
                            chain<6, vectors, stride>,
                            chain<7, vectors, stride>,
                            chain<8, vectors, stride>,
                            chain<9, vectors, stride>,
                            chain<10, vectors, stride>,
                            chain<11, vectors, stride>,
                            chain<12, vectors, stride>,
                            chain<13, vectors, stride>,
                            chain<14, vectors, stride>};
template <std::int64_t stride>
constexpr Chain wide_chains[] = {nullptr, chain<1, 2 * wide_panels, stride>, chain<2, 2 * wide_panels, stride>,
                                 chain<3, 2 * wide_panels, stride>};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
