// reduce               x (outer, n, inner) -> y (outer, inner): sum, mean = sum / n, max, min.
// reduce_select_grad   max and min: the first of the n elements that equals y (or is NaN where y is) gets gy, the
//                      others 0.
// Sums in canonical order: columns as chains in chunks of k_chunk (inner > 1, fold_columns.cuh), rows in 16 lanes in
// chunks of reduce_chunk (inner == 1, fold_rows.cuh). Gradient: teams own rows, threads columns.
#include "kernels/common/geometry.hpp"
#include "kernels/cuda/fold_columns.cuh"
#include "kernels/cuda/fold_rows.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

template <class Fold, class Finish>
void reduce_with(const Call& call, const ReduceGeometry& g, Finish finish) {
  if (g.inner == 1)
    fold_rows<Fold>(call, g.outer, g.n, finish, nullptr);
  else
    fold_columns<Fold>(call, g.outer, g.n, g.inner, order::k_chunk, finish);
}

__device__ inline bool same(float a, float b) { return a == b || (a != a && b != b); }

/// A team a row.
struct SelectInRow {
  std::int64_t n;
  const float *gradient, *in, *extreme;
  float* out;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const float* x = in + row * n;
    float* gx = out + row * n;
    const float y = extreme[row], gy = gradient[row];
    std::int64_t at = nowhere;
    team.for_each(n, [&](std::int64_t i) {
      if (i < at && same(x[i], y)) at = i;
    });
    at = team.first(at);
    team.for_each(n, [&](std::int64_t i) { gx[i] = i == at ? gy : 0.f; });
  }
};

/// A thread a column.
__global__ void select_in_columns(ReduceGeometry g, const float* gradient, const float* x, const float* extreme,
                                  float* gx) {
  for_each_index(g.outer * g.inner, [&](std::int64_t item) {
    const std::int64_t outer = item / g.inner, begin = outer * g.n * g.inner + (item - outer * g.inner);
    const float gy = gradient[item], y = extreme[item];
    bool open = true;  // the winner has not come yet
#pragma unroll 4
    for (std::int64_t i = 0; i < g.n; ++i) {
      const bool wins = open && same(x[begin + i * g.inner], y);
      gx[begin + i * g.inner] = wins ? gy : 0.f;
      open = open && !wins;
    }
  });
}

}  // namespace

void reduce(const Call& call) {
  const auto& g = state_of<ReduceGeometry>(call);
  switch (g.fn) {
    case op::ReduceFn::sum:
      return reduce_with<Sum>(call, g, AsItIs{});
    case op::ReduceFn::mean:
      return reduce_with<Sum>(call, g, DividedBy{static_cast<float>(g.n)});
    case op::ReduceFn::max:
      return reduce_with<Max>(call, g, AsItIs{});
    case op::ReduceFn::min:
      return reduce_with<Min>(call, g, AsItIs{});
  }
}

void reduce_select_grad(const Call& call) {
  const auto& g = state_of<ReduceGeometry>(call);
  const float *gy = input<float>(call, 0), *x = input<float>(call, 1), *y = input<float>(call, 2);
  float* gx = output<float>(call, 0);
  if (g.inner == 1)
    for_each_row(call, g.outer, g.n, SelectInRow{g.n, gy, x, y, gx});
  else if (g.outer * g.inner > 0)
    launch(call, select_in_columns, blocks_for(g.outer * g.inner, 128), dim3(128), 0, g, gy, x, y, gx);
}

}  // namespace tenon::cuda
