// Convolutions in which every channel has a filter of its own (depthwise): a row of pixels, all channels, taps in order.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// outer x inner taps; steps in floats, of x and of the filter, which may run backwards.
struct ChannelTaps {
  std::int64_t outer, inner;
  std::int64_t x_outer, x_inner, w_outer, w_inner;
};

/// store(pixel, channel, sum, lanes) for `pixels` pixels `step` floats apart and all channels; one FMA chain per sum.
template <class Store>
TENON_INLINE void channel_row(const float* x, std::int64_t step, const float* w, const ChannelTaps& taps,
                              std::int64_t pixels, std::int64_t channels, const Store& store) {
  constexpr std::int64_t together = 8;
  for (std::int64_t p0 = 0; p0 < pixels; p0 += together)
    for_each_lanes(channels, [&](std::int64_t c, auto lanes) {
      const auto sums = [&](auto count) __attribute__((always_inline)) {
        Vf acc[count.value];
#pragma GCC unroll 8
        for (Vf& sum : acc) sum = Vf{};
        for (std::int64_t o = 0; o < taps.outer; ++o)
          for (std::int64_t i = 0; i < taps.inner; ++i) {
            const float* at = x + p0 * step + o * taps.x_outer + i * taps.x_inner + c;
            const Vf tap = lanes.load(w + o * taps.w_outer + i * taps.w_inner + c);
#pragma GCC unroll 8
            for (int p = 0; p < count.value; ++p) acc[p] = Simd::fma(lanes.load(at + p * step), tap, acc[p]);
          }
#pragma GCC unroll 8
        for (int p = 0; p < count.value; ++p) store(p0 + p, c, acc[p], lanes);
      };
      if (pixels - p0 >= together) {
        sums(Count<together>{});
        return;
      }
      for (std::int64_t p = p0; p < pixels; ++p) {
        Vf acc{};
        for (std::int64_t o = 0; o < taps.outer; ++o)
          for (std::int64_t i = 0; i < taps.inner; ++i)
            acc = Simd::fma(lanes.load(x + p * step + o * taps.x_outer + i * taps.x_inner + c),
                            lanes.load(w + o * taps.w_outer + i * taps.w_inner + c), acc);
        store(p, c, acc, lanes);
      }
    });
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
