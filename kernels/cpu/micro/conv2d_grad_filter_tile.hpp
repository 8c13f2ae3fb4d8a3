// The register tile of dense filter gradients: up to 14 (6 with 16 registers) taps that are neighbours in memory times two
// vectors of filters, one FMA chain each over the output positions of a block.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"
#include "kernels/cpu/micro/gemm_chain.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Memory that will be read later: asked for `each` lines at a turn, while something else is computed.
struct LinesAhead {
  Lines x, dz;
  std::int64_t each;

  TENON_MEMBER void ask() {
    for (std::int64_t i = 0; i < each; ++i) {
      if (x.at >= x.end) {
        x = dz;
        dz = {};
        if (x.at >= x.end) {
          each = 0;
          return;
        }
      }
      __builtin_prefetch(x.at, 0, 2);
      x.at += 16;
    }
  }
};

/// Taps of x at the positions of some rows of some images, and dz of a panel there; steps in floats.
struct TapArgs {
  const float* x;
  std::int64_t image_step, row_step, step;
  const float* dz;
  std::int64_t dz_step, dz_image_step, images, rows, columns;
  bool go_on;  // from the sums that are there, else from 0
};

/// sums (taps, panel) = chains over the positions.
template <int taps>
void tap_chain(const TapArgs& a, const Sums& sums, LinesAhead& ahead) {
  constexpr int turn = 4;  // positions
  Vf acc[taps][2];
  if (a.go_on)
#pragma GCC unroll 16
    for (int r = 0; r < taps; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) acc[r][v] = Simd::load(sums.at + r * sums.row_step + v * width);
  else
    clear(acc);
  std::int64_t step = a.step, step3 = 3 * a.step;
  std::int64_t dz_step = a.dz_step, dz_step3 = 3 * a.dz_step;
  keep_register(step);
  keep_register(step3);
  keep_register(dz_step);
  keep_register(dz_step3);
  const auto add = [&](const float* x, const float* dz) __attribute__((always_inline)) {
    const Vf d0 = Simd::load(dz), d1 = Simd::load(dz + width);
#pragma GCC unroll 16
    for (int r = 0; r < taps; ++r) {
      const Vf v = Simd::set(x[r]);
      acc[r][0] = Simd::fma(v, d0, acc[r][0]);
      acc[r][1] = Simd::fma(v, d1, acc[r][1]);
    }
  };
  for (std::int64_t n = 0; n < a.images; ++n) {
    const float* dz = a.dz + n * a.dz_image_step;
    for (std::int64_t y = 0; y < a.rows; ++y) {
      const float* x = a.x + n * a.image_step + y * a.row_step;
      std::int64_t left = a.columns;
      for (; left >= turn; left -= turn) {
        if (ahead.each > 0) ahead.ask();
        if constexpr (unrolled_terms == turn) {
          add(x, dz);
          add(x + step, dz + dz_step);
          add(x + 2 * step, dz + 2 * dz_step);
          add(x + step3, dz + dz_step3);
          x += 4 * step;
          dz += 4 * dz_step;
        } else {
#pragma GCC unroll 1
          for (int i = 0; i < turn; ++i, x += step, dz += dz_step) add(x, dz);
        }
      }
      for (; left > 0; --left, x += step, dz += dz_step) add(x, dz);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < taps; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) Simd::store(sums.at + r * sums.row_step + v * width, acc[r][v]);
}
using TapChain = void (*)(const TapArgs&, const Sums&, LinesAhead&);
constexpr TapChain tap_chains[] = {nullptr,       tap_chain<1>,  tap_chain<2>,  tap_chain<3>,  tap_chain<4>,
                                   tap_chain<5>,  tap_chain<6>,  tap_chain<7>,  tap_chain<8>,  tap_chain<9>,
                                   tap_chain<10>, tap_chain<11>, tap_chain<12>, tap_chain<13>, tap_chain<14>};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
