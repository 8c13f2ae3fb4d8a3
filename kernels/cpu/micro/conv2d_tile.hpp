// The register tile of the direct convolutions: up to 14 (6 with 16 registers) neighbouring pixels times two vectors of
// outputs, one FMA chain each over the terms of a window.
#pragma once
#include "kernels/cpu/micro/conv2d_end.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// One tile: pixels [0, pixels) from `x` at distance `step`, over terms [begin, end). Terms lie in memory as runs.
struct TileArgs {
  const float* x;     // first pixel, first channel of the group
  std::int64_t step;  // floats between neighbouring pixels
  Runs runs;
  const float* w;           // packed panel
  std::int64_t begin, end;  // terms
  bool go_on;               // from the sums that are there, else from 0
  TileEnd to;
  bool fetch_z, fetch_x;  // of the pixels behind these
};

/// Asks for what the tile behind this one needs while this one is computed, a few lines every few terms: many at once would
/// wait for one another, and the hardware guesses nothing beyond a page. Into L2, which has room. Where a turn is a single
/// term, asking in turns costs more than it saves: the lines of this tile's own outputs, at once.
template <int pixels>
struct TileAhead {
  const float *z, *x;
  std::int64_t z_step, z_left, z_each, x_left;  // z in pairs of pixels

  TENON_INLINE TileAhead of(const TileArgs& a) {
    if constexpr (!in_turns) {
      if (a.fetch_z) a.to.fetch(pixels);
      return {};
    }
    // With few turns, more in each.
    const std::int64_t turns = a.runs.outer * a.runs.inner * (a.runs.length / unrolled_terms), pairs = (pixels + 1) / 2;
    return {a.to.z + pixels * a.to.step, a.x + pixels * a.step,  a.to.step,
            a.fetch_z ? pairs : 0,       turns >= pairs ? 1 : 2, a.fetch_x ? a.runs.length / unrolled_terms : 0};
  }
  /// Once every unrolled_terms.
  TENON_MEMBER void ask(std::int64_t step) {
    if constexpr (!in_turns) return;
    for (std::int64_t i = z_left > 0 ? z_each : 0; i > 0; --i, --z_left, z += 2 * z_step)
#pragma GCC unroll 2
      for (int j = 0; j < panel; j += 16) {
        __builtin_prefetch(z + j, 0, 2);
        __builtin_prefetch(z + z_step + j, 0, 2);
      }
    if (x_left > 0) {
      // A line of 16 terms of each pixel in four turns.
      --x_left;
#pragma GCC unroll 4
      for (int i = 0; i < each; ++i) {
        __builtin_prefetch(x, 0, 2);
        x += step;
      }
      if (x_left % 4 == 0) x += 16 - 4 * each * step;
    }
  }

  static constexpr bool in_turns = unrolled_terms == 4;
  static constexpr int each = (pixels + 3) / 4;
};

/// `count` terms, unrolled so that pointers move once: integer instructions would take the ports of the FMAs.
template <int pixels, int count>
TENON_INLINE void add_terms(Vf (*acc)[2], const float* const* base, std::int64_t step, std::int64_t step2,
                            const float* w) {
#pragma GCC unroll 8
  for (int c = 0; c < count; ++c) {
    const Vf w0 = Simd::load(w + c * panel), w1 = Simd::load(w + c * panel + width);
#pragma GCC unroll 16
    for (int p = 0; p < pixels; ++p) {
      const Vf v = Simd::set(base[p / 3][c + (p % 3 == 0 ? 0 : p % 3 == 1 ? step : step2)]);
      acc[p][0] = Simd::fma(v, w0, acc[p][0]);
      acc[p][1] = Simd::fma(v, w1, acc[p][1]);
    }
  }
}

template <int pixels>
void tile(const TileArgs& a) {
  // One pointer for three pixels, the others behind it by an index register: a pointer each would not fit in the
  // registers, and the compiler, left alone, makes one each.
  constexpr int bases = (pixels + 2) / 3, unroll = unrolled_terms;
  Vf acc[pixels][2];
  if (a.go_on)
#pragma GCC unroll 16
    for (int i = 0; i < pixels; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) acc[i][v] = Simd::load(a.to.z + i * a.to.step + v * width);
  else
    clear(acc);
  TileAhead<pixels> ahead = TileAhead<pixels>::of(a);
  const float* w = a.w + a.begin * panel;
  std::int64_t term = 0, step = a.step, step2 = 2 * a.step;
  for (std::int64_t o = 0; o < a.runs.outer; ++o)
    for (std::int64_t i = 0; i < a.runs.inner; ++i, term += a.runs.length) {
      const std::int64_t c0 = larger(a.begin - term, 0), c1 = smaller(a.end - term, a.runs.length);
      const float* base[bases];
      for (int b = 0; b < bases; ++b) base[b] = a.x + o * a.runs.outer_step + i * a.runs.inner_step + c0 + 3 * b * step;
      const auto advance = [&](std::int64_t by) __attribute__((always_inline)) {
        w += by * panel;
#pragma GCC unroll 16
        for (int b = 0; b < bases; ++b) {
          base[b] += by;
          keep_register(base[b]);
        }
        keep_register(step);
        keep_register(step2);
      };
      advance(0);
      std::int64_t left = larger(c1 - c0, 0);
      for (; left >= unroll; left -= unroll) {
        ahead.ask(step);
        add_terms<pixels, unroll>(acc, base, step, step2, w);
        advance(unroll);
      }
      if (unroll > 2 && (left & 2) != 0) {
        add_terms<pixels, 2>(acc, base, step, step2, w);
        advance(2);
      }
      if (unroll > 1 && (left & 1) != 0) {
        add_terms<pixels, 1>(acc, base, step, step2, w);
        advance(1);
      }
    }
  // Of its own: a store could change what lies behind `a`, so that it would be read again for each.
  const TileEnd to = a.to;
  if (to.bias != nullptr)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const Vf bias = Simd::load(to.bias + v * width);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; ++i) acc[i][v] += bias;
    }
  if (to.relu)
#pragma GCC unroll 16
    for (int i = 0; i < pixels; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) acc[i][v] = pointwise::Relu<Simd>::value(acc[i][v]);
#pragma GCC unroll 16
  for (int i = 0; i < pixels; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) Simd::store(to.z + i * to.step + v * width, acc[i][v]);
}
using Tile = void (*)(const TileArgs&);
constexpr Tile tiles[] = {nullptr, tile<1>, tile<2>,  tile<3>,  tile<4>,  tile<5>,  tile<6>, tile<7>,
                          tile<8>, tile<9>, tile<10>, tile<11>, tile<12>, tile<13>, tile<14>};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
