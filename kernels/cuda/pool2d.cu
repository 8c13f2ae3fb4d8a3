// max_pool2d   y = max over the taps of the window inside the image; saves the winner's offset kh * window_w + kw in
//              the full window. The first in row-major order wins ties; a NaN wins and stays.
// avg_pool2d   y = (sum of the taps inside, one chain of adds from 0, row-major) / (their number).
// Gradients    gx = sum of gy over the windows that reach the element (max: whose winner it is), ascending (oh, ow),
//              from 0; avg: of gy / taps.
// NHWC. Threads own four neighbouring channels, or one where c is no multiple of four; forward of an output, in the
// gradients of an element of gx, so that nothing is added from two sides.
#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

/// Item i of an image-like value (n, rows, columns, pieces).
struct Place {
  std::int64_t n;
  std::int32_t row, column, piece;

  __device__ Place(std::int64_t i, std::int32_t rows, std::int32_t columns, std::int32_t pieces) {
    std::int64_t rest = i / pieces;
    piece = static_cast<std::int32_t>(i - rest * pieces);
    i = rest / columns;
    column = static_cast<std::int32_t>(rest - i * columns);
    n = i / rows;
    row = static_cast<std::int32_t>(i - n * rows);
  }
};

/// The taps of an output that are inside the image.
struct Window {
  std::int32_t h0, w0;
  TapRange kh, kw;

  __device__ Window(const PoolGeometry& g, std::int32_t oh, std::int32_t ow)
      : h0(oh * g.stride_h - g.pad_top),
        w0(ow * g.stride_w - g.pad_left),
        kh(taps_inside(h0, g.window_h, 1, g.h)),
        kw(taps_inside(w0, g.window_w, 1, g.w)) {}
  [[nodiscard]] __device__ float taps() const {
    return static_cast<float>((kh.last - kh.first) * (kw.last - kw.first));
  }
};

/// The outputs [first, last) along one axis whose windows reach position `at`.
struct Reach {
  std::int32_t first, last;

  __device__ Reach(std::int32_t at, std::int32_t window, std::int32_t stride, std::int32_t pad, std::int32_t outputs) {
    const std::int32_t end = at + pad, begin = end - window + 1;
    first = begin <= 0 ? 0 : (begin + stride - 1) / stride;
    last = end / stride + 1 < outputs ? end / stride + 1 : outputs;
  }
};

template <int count>
__global__ void take_max(PoolGeometry g, std::int64_t items, const float* x, float* y, std::int32_t* winners) {
  for_each_index(items, [&](std::int64_t i) {
    const Place at(i, g.oh, g.ow, g.c / count);
    const Window window(g, at.row, at.column);
    const float* image = x + at.n * g.h * g.w * g.c + at.piece * count;
    Lanes<float, count> best{};
    Lanes<std::int32_t, count> winner;
#pragma unroll
    for (int l = 0; l < count; ++l) winner.v[l] = -1;
    for (std::int32_t kh = window.kh.first; kh < window.kh.last; ++kh) {
      const float* row = image + (std::int64_t{window.h0 + kh} * g.w + window.w0) * g.c;
      for (std::int32_t kw = window.kw.first; kw < window.kw.last; ++kw) {
        const Lanes<float, count> v = load<count>(row + std::int64_t{kw} * g.c);
#pragma unroll
        for (int l = 0; l < count; ++l) {
          const bool wins = v.v[l] > best.v[l] || (v.v[l] != v.v[l] && best.v[l] == best.v[l]);
          if (winner.v[l] >= 0 && !wins) continue;
          best.v[l] = v.v[l];
          winner.v[l] = kh * g.window_w + kw;
        }
      }
    }
    store(y + i * count, best);
    store(winners + i * count, winner);
  });
}

template <int count>
__global__ void take_mean(PoolGeometry g, std::int64_t items, const float* x, float* y) {
  for_each_index(items, [&](std::int64_t i) {
    const Place at(i, g.oh, g.ow, g.c / count);
    const Window window(g, at.row, at.column);
    const float* image = x + at.n * g.h * g.w * g.c + at.piece * count;
    Lanes<float, count> sum{};
    for (std::int32_t kh = window.kh.first; kh < window.kh.last; ++kh) {
      const float* row = image + (std::int64_t{window.h0 + kh} * g.w + window.w0) * g.c;
      for (std::int32_t kw = window.kw.first; kw < window.kw.last; ++kw) {
        const Lanes<float, count> v = load<count>(row + std::int64_t{kw} * g.c);
#pragma unroll
        for (int l = 0; l < count; ++l) sum.v[l] = sum.v[l] + v.v[l];
      }
    }
    const float taps = window.taps();
#pragma unroll
    for (int l = 0; l < count; ++l) sum.v[l] = sum.v[l] / taps;
    store(y + i * count, sum);
  });
}

/// body(offset of an output in y, oh, ow) for the outputs that reach the place, ascending.
template <int count, class Body>
__device__ void for_each_reaching(const PoolGeometry& g, const Place& at, const Body& body) {
  const Reach rows(at.row, g.window_h, g.stride_h, g.pad_top, g.oh);
  const Reach columns(at.column, g.window_w, g.stride_w, g.pad_left, g.ow);
  for (std::int32_t oh = rows.first; oh < rows.last; ++oh)
    for (std::int32_t ow = columns.first; ow < columns.last; ++ow)
      body(((at.n * g.oh + oh) * g.ow + ow) * g.c + at.piece * count, oh, ow);
}

template <int count>
__global__ void return_max(PoolGeometry g, std::int64_t items, const float* gy, const std::int32_t* winners,
                           float* gx) {
  for_each_index(items, [&](std::int64_t i) {
    const Place at(i, g.h, g.w, g.c / count);
    Lanes<float, count> sum{};
    for_each_reaching<count>(g, at, [&](std::int64_t o, std::int32_t oh, std::int32_t ow) {
      const std::int32_t kh = at.row - (oh * g.stride_h - g.pad_top), kw = at.column - (ow * g.stride_w - g.pad_left);
      const Lanes<std::int32_t, count> winner = load<count>(winners + o);
      const Lanes<float, count> gradient = load<count>(gy + o);
#pragma unroll
      for (int l = 0; l < count; ++l)
        if (winner.v[l] == kh * g.window_w + kw) sum.v[l] = sum.v[l] + gradient.v[l];
    });
    store(gx + i * count, sum);
  });
}

template <int count>
__global__ void return_mean(PoolGeometry g, std::int64_t items, const float* gy, float* gx) {
  for_each_index(items, [&](std::int64_t i) {
    const Place at(i, g.h, g.w, g.c / count);
    Lanes<float, count> sum{};
    for_each_reaching<count>(g, at, [&](std::int64_t o, std::int32_t oh, std::int32_t ow) {
      const float taps = Window(g, oh, ow).taps();
      const Lanes<float, count> gradient = load<count>(gy + o);
#pragma unroll
      for (int l = 0; l < count; ++l) sum.v[l] = sum.v[l] + gradient.v[l] / taps;
    });
    store(gx + i * count, sum);
  });
}

/// Channels that a thread takes at a time.
int lanes_of(const PoolGeometry& g) { return g.c % 4 == 0 ? 4 : 1; }
std::int64_t outputs(const PoolGeometry& g) { return g.n * g.oh * g.ow * g.c / lanes_of(g); }
std::int64_t inputs(const PoolGeometry& g) { return g.n * g.h * g.w * g.c / lanes_of(g); }

template <class... Arguments>
void start(const Call& call, void (*kernel)(PoolGeometry, std::int64_t, Arguments...), std::int64_t items,
           std::type_identity_t<Arguments>... arguments) {
  if (items > 0)
    launch(call, kernel, blocks_for(items), dim3(block_threads), 0, state_of<PoolGeometry>(call), items, arguments...);
}

}  // namespace

void max_pool2d(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  start(call, lanes_of(g) == 4 ? take_max<4> : take_max<1>, outputs(g), input<float>(call, 0), output<float>(call, 0),
        output<std::int32_t>(call, 1));
}

void max_pool2d_grad(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  start(call, lanes_of(g) == 4 ? return_max<4> : return_max<1>, inputs(g), input<float>(call, 0),
        input<std::int32_t>(call, 1), output<float>(call, 0));
}

void avg_pool2d(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  start(call, lanes_of(g) == 4 ? take_mean<4> : take_mean<1>, outputs(g), input<float>(call, 0),
        output<float>(call, 0));
}

void avg_pool2d_grad(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  start(call, lanes_of(g) == 4 ? return_mean<4> : return_mean<1>, inputs(g), input<float>(call, 0),
        output<float>(call, 0));
}

}  // namespace tenon::cuda
