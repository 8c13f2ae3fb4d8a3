// reduce               x (outer, n, inner) -> y (outer, inner): sum, mean = sum / n, max, min.
// reduce_select_grad   max and min: the first of the n elements that equals y (or is NaN where y is) gets gy, the
//                      others 0.
// Sums in canonical order: columns as chains in chunks of k_chunk (inner > 1), rows in 16 lanes in chunks of
// reduce_chunk (inner == 1). With more than one chunk the results of chunks go through the workspace.
#include "kernels/cpu/micro/folds.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

template <class Fold>
void reduce_with(const Call& call, const ReduceGeometry& g) {
  const float* x = input<float>(call, 0);
  auto* parts = static_cast<float*>(call.workspace);
  float* y = output<float>(call, 0);
  if (g.inner == 1)
    fold_rows<Fold>(call, x, g.outer, g.n, parts, y);
  else
    fold_axis<Fold>(call, x, g.outer, g.n, g.inner, order::k_chunk, parts, y);
}

TENON_INLINE Vi same(Vf a, Vf b) { return (a == b) | ((a != a) & (b != b)); }

/// The first match of one row takes gy; the row of gx starts out zero.
TENON_INLINE void select_in_row(const float* x, std::int64_t n, float y, float gy, float* gx) {
  std::memset(gx, 0, static_cast<std::size_t>(n) * 4);
  std::int64_t i = 0;
  while (i + width <= n && !Simd::any(same(Simd::load(x + i), Simd::set(y)))) i += width;
  for (; i < n; ++i) {
    if (x[i] == y || (x[i] != x[i] && y != y)) {
      gx[i] = gy;
      return;
    }
  }
}

}  // namespace

void reduce(const Call& call) {
  const auto& g = geometry<ReduceGeometry>(call);
  switch (g.fn) {
    case op::ReduceFn::sum:
    case op::ReduceFn::mean:
      reduce_with<Sum>(call, g);
      break;
    case op::ReduceFn::max:
      reduce_with<Max>(call, g);
      break;
    case op::ReduceFn::min:
      reduce_with<Min>(call, g);
      break;
  }
  if (g.fn != op::ReduceFn::mean) return;
  float* y = output<float>(call, 0);
  const Vf n = Simd::set(static_cast<float>(g.n));
  for_each_lanes(g.outer * g.inner, [&](std::int64_t i, auto lanes) { lanes.store(y + i, lanes.load(y + i) / n); });
}

void reduce_select_grad(const Call& call) {
  const auto& g = geometry<ReduceGeometry>(call);
  const float *gy = input<float>(call, 0), *x = input<float>(call, 1), *y = input<float>(call, 2);
  float* gx = output<float>(call, 0);
  const std::int32_t threads = threads_for(call, g.outer * g.n * g.inner);
  if (g.inner == 1) {
    parallel_for(threads, g.outer, [&](std::int64_t o) { select_in_row(x + o * g.n, g.n, y[o], gy[o], gx + o * g.n); });
    return;
  }
  const std::int64_t blocks = blocks_of(g.inner, width);
  parallel_for(threads, g.outer * blocks, [&](std::int64_t item) {
    const std::int64_t o = item / blocks, column = item % blocks * width;
    for_each_lanes(smaller(width, g.inner - column), [&](std::int64_t, auto lanes) {
      const Vf gradient = lanes.load(gy + o * g.inner + column), winner = lanes.load(y + o * g.inner + column);
      Vi open = Simd::set_int(-1);  // columns whose winner has not come yet
      for (std::int64_t i = 0; i < g.n; ++i) {
        const std::int64_t at = (o * g.n + i) * g.inner + column;
        const Vi wins = same(lanes.load(x + at), winner) & open;
        lanes.store(gx + at, Simd::select(wins, gradient, Simd::set(0.f)));
        open &= ~wins;
      }
    });
  });
}

}  // namespace tenon::cpu::TENON_ISA
