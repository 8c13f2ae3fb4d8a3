// Convolutions in which every channel has a filter of its own (depthwise): a row of pixels, all channels, taps in order.
// Taps beside the image are left out, so that no image has to be copied into a frame of zeros.
#pragma once
#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_end.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// What the row after this one will be the first to read, and where its outputs will lie: asked for into L2 while this one is
/// computed, so many vectors of each for a vector of outputs. Every row begins pages of its own, where the hardware would
/// have to guess anew, and a store that waits for its line holds up all behind it.
struct RowAhead {
  const float* x;
  std::int64_t x_vectors;
  const float* z;
  std::int64_t z_vectors;

  TENON_MEMBER void ask(std::int64_t vectors) {
    for (std::int64_t i = vectors * x_vectors; i > 0; --i, x += width) __builtin_prefetch(x, 0, 2);
    for (std::int64_t i = vectors * z_vectors; i > 0; --i, z += width) __builtin_prefetch(z, 0, 2);
  }
};

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

/// `count` neighbouring pixels that meet every tap: one FMA chain each for some vectors of channels.
template <int count, int vectors, class Lanes>
TENON_INLINE void channel_pixels(const float* x, const float* w, const ChannelTaps& t, std::int64_t channels,
                                 std::int64_t c, const TileEnd& to, Lanes lanes) {
  Vf acc[count][vectors];
  clear(acc);
  for (std::int64_t o = 0; o < t.outer; ++o)
    for (std::int64_t i = 0; i < t.inner; ++i) {
      const float* at = x + o * t.x_outer + i * t.tap * channels + c;
      const float* tap = w + o * t.w_outer + i * t.w_inner + c;
      Vf weight[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) weight[v] = lanes.load(tap + v * width);
#pragma GCC unroll 8
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
          acc[p][v] = Simd::fma(lanes.load(at + p * t.step * channels + v * width), weight[v], acc[p][v]);
    }
#pragma GCC unroll 8
  for (int p = 0; p < count; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      Vf sum = to.bias != nullptr ? acc[p][v] + lanes.load(to.bias + c + v * width) : acc[p][v];
      if (to.relu) sum = pointwise::Relu<Simd>::value(sum);
      lanes.store(to.z + p * to.step + c + v * width, sum);
    }
}

/// body(c, vectors, lanes) over the channels: pairs of vectors, whose lines are neighbours, then what is left.
template <class Body>
TENON_INLINE void for_each_channels(std::int64_t channels, const Body& body) {
  std::int64_t c = 0;
  for (; c + 2 * width <= channels; c += 2 * width) body(c, Count<2>{}, Whole{});
  if (c + width <= channels) {
    body(c, Count<1>{}, Whole{});
    c += width;
  }
  if (c < channels) body(c, Count<1>{}, Part{channels - c});
}

/// Pixels [0, pixels) of all channels; x is the first row of the image that a tap meets, its column 0.
TENON_INLINE void channel_row(const float* x, const float* w, const ChannelTaps& t, std::int64_t pixels,
                              std::int64_t channels, const TileEnd& to, RowAhead ahead) {
  const Range inside = t.inside(pixels);
  // A pixel at the edge: the taps that are there.
  const auto at_the_edge = [&](std::int64_t p) {
    const std::int64_t column = t.first + p * t.step;
    const Range there = taps_there(column, t.inner, t.tap, t.columns);
    ChannelTaps some = t;
    some.inner = there.size();
    for_each_channels(channels, [&](std::int64_t c, auto vectors, auto lanes) {
      ahead.ask(vectors.value);
      channel_pixels<1, vectors.value>(x + (column + there.begin * t.tap) * channels, w + there.begin * t.w_inner, some,
                                       channels, c, to.from(p), lanes);
    });
  };
  for (std::int64_t p = 0; p < inside.begin; ++p) at_the_edge(p);
  // As many pixels at once as hide the latency of an FMA, in parts of the same size.
  const std::int64_t parts = blocks_of(inside.size(), 4);
  for (std::int64_t i = 0; i < parts; ++i) {
    const Range px = part(inside.size(), i, parts);
    const std::int64_t p = inside.begin + px.begin;
    const float* from = x + (t.first + p * t.step) * channels;
    const TileEnd there = to.from(p);
    for_each_channels(channels, [&](std::int64_t c, auto vectors, auto lanes) {
      ahead.ask(px.size() * vectors.value);
      const auto run = [&](auto count) __attribute__((always_inline)) {
        channel_pixels<count.value, vectors.value>(from, w, t, channels, c, there, lanes);
      };
      switch (px.size()) {
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
