// max_pool2d   y = max over the taps of the window inside the image; saves the winner's offset kh * window_w + kw in
// the
//              full window. The first in row-major order wins ties; a NaN wins and stays.
// avg_pool2d   y = (sum of the taps inside, one chain of adds from the first, row-major) / (their number).
// Gradients    fill gx with zero, then add in ascending (oh, ow).
// NHWC, vectors over c. Forward: threads own (n, oh) rows; gradients: threads own images.
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The taps of one output position that are inside the image, as offsets in elements of x or gx.
struct Window {
  TapRange kh, kw;
  std::int64_t origin;  // of tap (0, 0), which may be outside
  std::int64_t row, c;  // pitch of kh and of kw

  TENON_INLINE Window at(const PoolGeometry& g, std::int64_t image, std::int32_t oh, std::int32_t ow) {
    const std::int32_t h0 = oh * g.stride_h - g.pad_top, w0 = ow * g.stride_w - g.pad_left;
    const std::int64_t row = std::int64_t{g.w} * g.c;
    return {taps_inside(h0, g.window_h, 1, g.h), taps_inside(w0, g.window_w, 1, g.w),
            (image * g.h + h0) * row + std::int64_t{w0} * g.c, row, g.c};
  }
  inline __attribute__((always_inline)) std::int64_t tap(std::int32_t i, std::int32_t j) const {
    return origin + i * row + j * c;
  }
  inline __attribute__((always_inline)) float count() const {
    return static_cast<float>((kh.last - kh.first) * (kw.last - kw.first));
  }
};

TENON_INLINE std::int64_t outputs(const PoolGeometry& g) { return g.n * g.oh * g.ow * g.c; }

/// body(window, offset of the output's first channel) for every output position, threads over (n, oh).
template <class Body>
TENON_INLINE void for_each_row(const Call& call, const PoolGeometry& g, const Body& body) {
  parallel_for(threads_for(call, outputs(g) * g.window_h), g.n * g.oh, [&](std::int64_t row) {
    for (std::int32_t ow = 0; ow < g.ow; ++ow) {
      body(Window::at(g, row / g.oh, static_cast<std::int32_t>(row % g.oh), ow), (row * g.ow + ow) * g.c);
    }
  });
}

/// The same in ascending (oh, ow) inside an image of gx that starts out zero, threads over n.
template <class Body>
TENON_INLINE void for_each_image(const Call& call, const PoolGeometry& g, float* gx, const Body& body) {
  const std::int64_t image_elements = std::int64_t{g.h} * g.w * g.c;
  parallel_for(threads_for(call, outputs(g) * g.window_h), g.n, [&](std::int64_t image) {
    std::memset(gx + image * image_elements, 0, static_cast<std::size_t>(image_elements) * 4);
    for (std::int32_t oh = 0; oh < g.oh; ++oh) {
      for (std::int32_t ow = 0; ow < g.ow; ++ow) {
        body(Window::at(g, image, oh, ow), ((image * g.oh + oh) * g.ow + ow) * g.c);
      }
    }
  });
}

}  // namespace

void max_pool2d(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  float* winners = output<float>(call, 1);  // i32, moved as bits
  for_each_row(call, g, [&](const Window& win, std::int64_t at) {
    for_each_lanes(g.c, [&](std::int64_t c, auto lanes) {
      Vf best = lanes.load(x + win.tap(win.kh.first, win.kw.first) + c);
      Vi winner = Simd::set_int(win.kh.first * g.window_w + win.kw.first);
      for (std::int32_t i = win.kh.first; i < win.kh.last; ++i) {
        for (std::int32_t j = win.kw.first; j < win.kw.last; ++j) {
          const Vf v = lanes.load(x + win.tap(i, j) + c);
          const Vi takes = (v > best) | ((v != v) & (best == best));
          best = Simd::select(takes, v, best);
          winner = (takes & Simd::set_int(i * g.window_w + j)) | (~takes & winner);
        }
      }
      lanes.store(y + at + c, best);
      lanes.store(winners + at + c, Simd::from_bits(winner));
    });
  });
}

// Visits every tap of the window and adds where it is the winner's: with windows that do not overlap this is one pass
// over gx, and vectors stay whole although neighbouring channels have different winners.
void max_pool2d_grad(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* gy = input<float>(call, 0);
  const float* winners = input<float>(call, 1);
  float* gx = output<float>(call, 0);
  for_each_image(call, g, gx, [&](const Window& win, std::int64_t at) {
    for_each_lanes(g.c, [&](std::int64_t c, auto lanes) {
      const Vf gradient = lanes.load(gy + at + c);
      const Vi winner = Simd::bits(lanes.load(winners + at + c));
      for (std::int32_t i = win.kh.first; i < win.kh.last; ++i) {
        for (std::int32_t j = win.kw.first; j < win.kw.last; ++j) {
          float* to = gx + win.tap(i, j) + c;
          const Vf old = lanes.load(to);
          lanes.store(to, Simd::select(winner == Simd::set_int(i * g.window_w + j), old + gradient, old));
        }
      }
    });
  });
}

void avg_pool2d(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  for_each_row(call, g, [&](const Window& win, std::int64_t at) {
    for_each_lanes(g.c, [&](std::int64_t c, auto lanes) {
      Vf sum = lanes.load(x + win.tap(win.kh.first, win.kw.first) + c);
      for (std::int32_t i = win.kh.first; i < win.kh.last; ++i) {
        for (std::int32_t j = i == win.kh.first ? win.kw.first + 1 : win.kw.first; j < win.kw.last; ++j) {
          sum = sum + lanes.load(x + win.tap(i, j) + c);
        }
      }
      lanes.store(y + at + c, sum / Simd::set(win.count()));
    });
  });
}

void avg_pool2d_grad(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* gy = input<float>(call, 0);
  float* gx = output<float>(call, 0);
  for_each_image(call, g, gx, [&](const Window& win, std::int64_t at) {
    for_each_lanes(g.c, [&](std::int64_t c, auto lanes) {
      const Vf share = lanes.load(gy + at + c) / Simd::set(win.count());
      for (std::int32_t i = win.kh.first; i < win.kh.last; ++i) {
        for (std::int32_t j = win.kw.first; j < win.kw.last; ++j) {
          float* to = gx + win.tap(i, j) + c;
          lanes.store(to, lanes.load(to) + share);
        }
      }
    });
  });
}

}  // namespace tenon::cpu::TENON_ISA
