// bias_add    y = x + b, x (n, inner, c), b (c).
// bias_grad   gb = sum of gy over (n, inner) in canonical order: one chain of adds per group of sample_group samples
//             (by_sample) or per k_chunk rows, group sums joined by the pair tree through the workspace.
// Vectors over c. bias_add: threads own rows; bias_grad: threads own blocks of columns of one group.
#include "kernels/cpu/micro/folds.hpp"

namespace tenon::cpu::TENON_ISA {

void bias_add(const Call& call) {
  const auto& g = geometry<BiasGeometry>(call);
  const float *x = input<float>(call, 0), *b = input<float>(call, 1);
  float* y = output<float>(call, 0);
  const std::int64_t rows = g.n * g.inner;
  parallel_for(threads_for(call, rows * g.c), rows, [&](std::int64_t row) {
    for_each_lanes(g.c, [&](std::int64_t c, auto lanes) {
      lanes.store(y + row * g.c + c, lanes.load(x + row * g.c + c) + lanes.load(b + c));
    });
  });
}

void bias_grad(const Call& call) {
  const auto& g = geometry<BiasGeometry>(call);
  const std::int64_t chunk = g.by_sample ? order::sample_group * g.inner : order::k_chunk;
  fold_axis<Sum>(call, input<float>(call, 0), 1, g.n * g.inner, g.c, chunk, static_cast<float*>(call.workspace),
                 output<float>(call, 0));
}

}  // namespace tenon::cpu::TENON_ISA
