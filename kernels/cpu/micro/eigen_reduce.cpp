// reduce               x (outer, n, inner) -> y (outer, inner) by Eigen's row and column reductions, over chunks whose
//                      results go through the workspace where there are several. bias_grad: the same over all rows.
// reduce_select_grad   the first of the n elements that equals y (or is NaN where y is) gets gy, the others 0.
// pooling              arrays over the channels, one tap of the window after the other; the first winner wins ties, NaN
// wins. Threads own chunks of columns; in pooling, rows of y (forward) and images (gradients).
#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

using Fn = op::ReduceFn;
using Winners = Eigen::Map<Eigen::Array<std::int32_t, Eigen::Dynamic, 1>>;
using ConstWinners = Eigen::Map<const Eigen::Array<std::int32_t, Eigen::Dynamic, 1>>;

TENON_INLINE float reduce_row(Fn fn, In x) {
  if (x.size() == 0) return 0.f;
  if (fn == Fn::max) return x.maxCoeff<Eigen::PropagateNaN>();
  if (fn == Fn::min) return x.minCoeff<Eigen::PropagateNaN>();
  return x.sum();
}

/// x (rows, cols) with a pitch -> y (cols).
void reduce_columns(Fn fn, const float* x, std::int64_t rows, std::int64_t cols, std::int64_t pitch, float* to) {
  Out y(to, cols);
  if (rows == 0) {
    y.setZero();
  } else if (fn == Fn::max || fn == Fn::min) {
    y = In(x, cols);
    for (std::int64_t row = 1; row < rows; ++row) {
      const In next(x + row * pitch, cols);
      if (fn == Fn::max)
        y = y.binaryExpr(next, Larger());
      else
        y = y.binaryExpr(next, Smaller());
    }
  } else {
    out_matrix(to, 1, cols, cols).row(0) = in_matrix(x, rows, cols, pitch).colwise().sum();
  }
}

void reduce_rows(const Call& call, const ReduceGeometry& g) {
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  const std::int64_t parts = order::chunks(g.n, order::reduce_chunk);
  float* to = parts == 1 ? y : static_cast<float*>(call.workspace);
  parallel_for(threads_for(call, g.outer * g.n), g.outer * parts, [&](std::int64_t item) {
    const std::int64_t begin = item % parts * order::reduce_chunk;
    to[item] = reduce_row(g.fn, In(x + item / parts * g.n + begin, smaller(order::reduce_chunk, g.n - begin)));
  });
  if (parts == 1) return;
  for (std::int64_t o = 0; o < g.outer; ++o) y[o] = reduce_row(g.fn, In(to + o * parts, parts));
}

void reduce_axis(const Call& call, const ReduceGeometry& g, std::int64_t chunk) {
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  const std::int64_t parts = order::chunks(g.n, chunk);
  float* to = parts == 1 ? y : static_cast<float*>(call.workspace);
  const std::int64_t pieces = blocks_of(g.inner, block);
  const std::int32_t threads = threads_for(call, g.outer * g.n * g.inner);
  parallel_for(threads, g.outer * parts * pieces, [&](std::int64_t item) {
    const std::int64_t column = item % pieces * block, part = item / pieces % parts, o = item / pieces / parts;
    const std::int64_t begin = part * chunk;
    reduce_columns(g.fn, x + (o * g.n + begin) * g.inner + column, smaller(chunk, g.n - begin),
                   smaller(block, g.inner - column), g.inner, to + (o * parts + part) * g.inner + column);
  });
  if (parts == 1) return;
  parallel_for(threads, g.outer, [&](std::int64_t o) {
    reduce_columns(g.fn, to + o * parts * g.inner, parts, g.inner, g.inner, y + o * g.inner);
  });
}

/// The taps of one output position that are inside the image; offsets in elements of one image.
struct Window {
  TapRange kh, kw;
  std::int64_t origin;  // of tap (0, 0), which may be outside
};
TENON_INLINE Window window_at(const PoolGeometry& g, std::int32_t oh, std::int32_t ow) {
  const std::int32_t h0 = oh * g.stride_h - g.pad_top, w0 = ow * g.stride_w - g.pad_left;
  return {taps_inside(h0, g.window_h, 1, g.h), taps_inside(w0, g.window_w, 1, g.w),
          (std::int64_t{h0} * g.w + w0) * g.c};
}
TENON_INLINE float taps_in(const Window& w) {
  return static_cast<float>((w.kh.last - w.kh.first) * (w.kw.last - w.kw.first));
}

/// body(index in the window, offset in the image), row-major.
template <class Body>
TENON_INLINE void for_each_tap(const PoolGeometry& g, const Window& w, const Body& body) {
  for (std::int32_t i = w.kh.first; i < w.kh.last; ++i) {
    for (std::int32_t j = w.kw.first; j < w.kw.last; ++j) {
      body(i * g.window_w + j, w.origin + (std::int64_t{i} * g.w + j) * g.c);
    }
  }
}

TENON_INLINE std::int64_t image_elements(const PoolGeometry& g) { return std::int64_t{g.h} * g.w * g.c; }
TENON_INLINE std::int32_t pool_threads(const Call& call, const PoolGeometry& g) {
  return threads_for(call, g.n * g.oh * g.ow * g.c * g.window_h);
}

/// body(window, image of x, offset in y), threads over the rows (n, oh).
template <class Body>
TENON_INLINE void for_each_output(const Call& call, const PoolGeometry& g, const Body& body) {
  const float* x = input<float>(call, 0);
  parallel_for(pool_threads(call, g), g.n * g.oh, [&](std::int64_t row) {
    for (std::int32_t ow = 0; ow < g.ow; ++ow) {
      body(window_at(g, static_cast<std::int32_t>(row % g.oh), ow), x + row / g.oh * image_elements(g),
           (row * g.ow + ow) * g.c);
    }
  });
}
/// body(window, image of gx, offset in gy), gx zero at first, threads over images.
template <class Body>
TENON_INLINE void for_each_gradient(const Call& call, const PoolGeometry& g, const Body& body) {
  float* gx = output<float>(call, 0);
  parallel_for(pool_threads(call, g), g.n, [&](std::int64_t n) {
    float* image = gx + n * image_elements(g);
    Out(image, image_elements(g)).setZero();
    for (std::int64_t at = 0; at < std::int64_t{g.oh} * g.ow; ++at) {
      body(window_at(g, static_cast<std::int32_t>(at / g.ow), static_cast<std::int32_t>(at % g.ow)), image,
           (n * g.oh * g.ow + at) * g.c);
    }
  });
}

}  // namespace

void reduce(const Call& call) {
  const auto& g = geometry<ReduceGeometry>(call);
  if (g.inner == 1)
    reduce_rows(call, g);
  else
    reduce_axis(call, g, order::k_chunk);
  if (g.fn == Fn::mean) Out(output<float>(call, 0), g.outer * g.inner) /= static_cast<float>(g.n);
}

// In the chunks that the binding code makes room for.
void bias_grad(const Call& call) {
  const auto& g = geometry<BiasGeometry>(call);
  const ReduceGeometry sum{Fn::sum, 1, g.n * g.inner, g.c};
  reduce_axis(call, sum, g.by_sample ? order::sample_group * g.inner : order::k_chunk);
}

void reduce_select_grad(const Call& call) {
  const auto& g = geometry<ReduceGeometry>(call);
  const float *gy = input<float>(call, 0), *x = input<float>(call, 1), *y = input<float>(call, 2);
  float* gx = output<float>(call, 0);
  parallel_for(threads_for(call, g.outer * g.n * g.inner), g.outer, [&](std::int64_t o) {
    Out(gx + o * g.n * g.inner, g.n * g.inner).setZero();
    for (std::int64_t column = 0; column < g.inner; ++column) {
      const float winner = y[o * g.inner + column];
      for (std::int64_t at = o * g.n * g.inner + column; at < (o + 1) * g.n * g.inner; at += g.inner) {
        if (x[at] != winner && !(x[at] != x[at] && winner != winner)) continue;
        gx[at] = gy[o * g.inner + column];
        break;
      }
    }
  });
}

void max_pool2d(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  float* y = output<float>(call, 0);
  auto* winners = output<std::int32_t>(call, 1);
  for_each_output(call, g, [&](const Window& w, const float* image, std::int64_t at) {
    Out best(y + at, g.c);
    Winners winner(winners + at, g.c);
    for_each_tap(g, w, [&](std::int32_t index, std::int64_t offset) {
      const In v(image + offset, g.c);
      if (index == w.kh.first * g.window_w + w.kw.first) {
        best = v;
        winner.setConstant(index);
        return;
      }
      winner = (v > best || (v != v && best == best)).select(index, winner);
      best = best.binaryExpr(v, Larger());
    });
  });
}

void max_pool2d_grad(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* gy = input<float>(call, 0);
  const auto* winners = input<std::int32_t>(call, 1);
  for_each_gradient(call, g, [&](const Window& w, float* image, std::int64_t at) {
    const In gradient(gy + at, g.c);
    const ConstWinners winner(winners + at, g.c);
    for_each_tap(g, w, [&](std::int32_t index, std::int64_t offset) {
      Out to(image + offset, g.c);
      to = (winner == index).select(to + gradient, to);
    });
  });
}

void avg_pool2d(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  float* y = output<float>(call, 0);
  for_each_output(call, g, [&](const Window& w, const float* image, std::int64_t at) {
    Out sum(y + at, g.c);
    sum.setZero();
    for_each_tap(g, w, [&](std::int32_t, std::int64_t offset) { sum += In(image + offset, g.c); });
    sum /= taps_in(w);
  });
}

void avg_pool2d_grad(const Call& call) {
  const auto& g = geometry<PoolGeometry>(call);
  const float* gy = input<float>(call, 0);
  for_each_gradient(call, g, [&](const Window& w, float* image, std::int64_t at) {
    const In gradient(gy + at, g.c);
    const float taps = taps_in(w);
    for_each_tap(g, w, [&](std::int32_t, std::int64_t offset) { Out(image + offset, g.c) += gradient / taps; });
  });
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
