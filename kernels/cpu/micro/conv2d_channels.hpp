// Convolutions in which every channel has a filter of its own (depthwise): a row of pixels, all channels, taps in order.
// Taps beside the image are left out, so that no image has to be copied into a frame of zeros.
#pragma once
#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_end.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The taps of one row of outputs: `outer` rows of the image, all there, times `inner` columns, some of which may not be.
/// Pixel p meets tap i at column first + p * step + i * tap of `columns`. Steps of memory in floats.
struct ChannelTaps {
  std::int64_t outer, inner;
  std::int64_t first, step, tap, columns;
  std::int64_t x_outer, w_outer, w_inner;  // w may run backwards

  /// Pixels of [0, pixels) that meet every tap.
  TENON_MEMBER Range inside(std::int64_t pixels) const {
    return windows_inside(first, (inner - 1) * tap, step, columns, pixels);
  }
};

/// `count` neighbouring pixels that meet every tap: one FMA chain each for a vector of channels.
template <int count, class Lanes>
TENON_INLINE void channel_pixels(const float* x, const float* w, const ChannelTaps& t, std::int64_t channels,
                                 std::int64_t c, const TileEnd& to, Lanes lanes) {
  Vf acc[count];
#pragma GCC unroll 8
  for (Vf& sum : acc) sum = Vf{};
  for (std::int64_t o = 0; o < t.outer; ++o)
    for (std::int64_t i = 0; i < t.inner; ++i) {
      const float* at = x + o * t.x_outer + i * t.tap * channels + c;
      const Vf tap = lanes.load(w + o * t.w_outer + i * t.w_inner + c);
#pragma GCC unroll 8
      for (int p = 0; p < count; ++p) acc[p] = Simd::fma(lanes.load(at + p * t.step * channels), tap, acc[p]);
    }
#pragma GCC unroll 8
  for (int p = 0; p < count; ++p) {
    Vf v = to.bias != nullptr ? acc[p] + lanes.load(to.bias + c) : acc[p];
    if (to.relu) v = pointwise::Relu<Simd>::value(v);
    lanes.store(to.z + p * to.step + c, v);
  }
}

/// Pixels [0, pixels) of all channels; x is the first row of the image that a tap meets, its column 0.
TENON_INLINE void channel_row(const float* x, const float* w, const ChannelTaps& t, std::int64_t pixels,
                              std::int64_t channels, const TileEnd& to) {
  const Range inside = t.inside(pixels);
  // A pixel at the edge: the taps that are there.
  const auto at_the_edge = [&](std::int64_t p) {
    const std::int64_t column = t.first + p * t.step;
    const Range there = taps_there(column, t.inner, t.tap, t.columns);
    ChannelTaps some = t;
    some.inner = there.size();
    for_each_lanes(channels, [&](std::int64_t c, auto lanes) {
      channel_pixels<1>(x + (column + there.begin * t.tap) * channels, w + there.begin * t.w_inner, some, channels, c,
                        to.from(p), lanes);
    });
  };
  for (std::int64_t p = 0; p < inside.begin; ++p) at_the_edge(p);
  // As many pixels at once as hide the latency of an FMA, in parts of the same size.
  const std::int64_t parts = blocks_of(inside.size(), 8);
  for (std::int64_t i = 0; i < parts; ++i) {
    const Range px = part(inside.size(), i, parts);
    const std::int64_t p = inside.begin + px.begin;
    const float* from = x + (t.first + p * t.step) * channels;
    const TileEnd there = to.from(p);
    for_each_lanes(channels, [&](std::int64_t c, auto lanes) {
      const auto run = [&](auto count) __attribute__((always_inline)) {
        channel_pixels<count.value>(from, w, t, channels, c, there, lanes);
      };
      switch (px.size()) {
        case 8:
          return run(Count<8>{});
        case 7:
          return run(Count<7>{});
        case 6:
          return run(Count<6>{});
        case 5:
          return run(Count<5>{});
        case 4:
          return run(Count<4>{});
        case 3:
          return run(Count<3>{});
        case 2:
          return run(Count<2>{});
        default:
          return run(Count<1>{});
      }
    });
  }
  for (std::int64_t p = inside.end; p < pixels; ++p) at_the_edge(p);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
