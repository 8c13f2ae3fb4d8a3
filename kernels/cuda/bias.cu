// bias_add    y = x + b, x (n, inner, c), b (c).
// bias_grad   gb = sum of gy over (n, inner) in canonical order: one chain of adds per group of sample_group samples
//             (by_sample) or per k_chunk rows, group sums joined by the pair tree through the workspace
//             (fold_columns.cuh).
// bias_add: threads own four neighbours where c is a multiple of four, else single elements.
#include "kernels/common/geometry.hpp"
#include "kernels/cuda/fold_columns.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

template <int count>
__global__ void add_bias(std::int64_t items, std::int64_t per_row, const float* x, const float* b, float* y) {
  for_each_index(items, [&](std::int64_t i) {
    Lanes<float, count> v = load<count>(x + i * count);
    const Lanes<float, count> bias = load<count>(b + i % per_row * count);
#pragma unroll
    for (int l = 0; l < count; ++l) v.v[l] = v.v[l] + bias.v[l];
    store(y + i * count, v);
  });
}

}  // namespace

void bias_add(const Call& call) {
  const auto& g = state_of<BiasGeometry>(call);
  const std::int64_t count = g.c % 4 == 0 ? 4 : 1, items = g.n * g.inner * g.c / count;
  if (items == 0) return;
  launch(call, count == 4 ? add_bias<4> : add_bias<1>, blocks_for(items), dim3(block_threads), 0, items, g.c / count,
         input<float>(call, 0), input<float>(call, 1), output<float>(call, 0));
}

void bias_grad(const Call& call) {
  const auto& g = state_of<BiasGeometry>(call);
  const std::int64_t chunk = g.by_sample ? order::sample_group * g.inner : order::k_chunk;
  fold_columns<Sum>(call, 1, g.n * g.inner, g.c, chunk, AsItIs{});
}

}  // namespace tenon::cuda
