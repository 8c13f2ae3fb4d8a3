// conv2d_one_channel: y(n,oy,ox,k) = activation(bias(k) + sum over (kh,kw) of x(n,iy,ix) filter(kh,kw,k)), where x has one
// channel: the first layer of a network that sees grey images. 3x3 taps, and 5x5 with 32 registers.
// Layout: nothing is packed; the weights of a vector of filters stay in registers while four pixels at a time pass, so a
// pixel costs one broadcast a tap and vector, and y is written once, whole cache lines in a row.
// Parallel over output rows of all images.
// Order: one FMA chain per output over (kh, kw) ascending, no chunks.
// Error: (taps + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_one_channel.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int together = 4;  // pixels

/// Some pixels of a row, one vector of filters: store(pixel, sum).
template <int pixels, int kh, int kw, class Store>
TENON_INLINE void some_pixels(const float* x, std::int64_t line, std::int64_t step, const Vf* w, const Store& store) {
  Vf acc[pixels] = {};
#pragma GCC unroll 8
  for (int y = 0; y < kh; ++y)
#pragma GCC unroll 8
    for (int t = 0; t < kw; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < pixels; ++p) acc[p] = Simd::fma(Simd::set(x[y * line + p * step + t]), w[y * kw + t], acc[p]);
#pragma GCC unroll 4
  for (int p = 0; p < pixels; ++p) store(p, acc[p]);
}

template <int kh, int kw, int fixed_step, class F>
TENON_INLINE void one_row(const Conv2dPlan& p, const Call& call, const float* x, std::int64_t row, const F& f) {
  const ConvGeometry& g = p.g;
  const float *filter = input<float>(call, 1), *bias = g.bias ? input<float>(call, 2) : nullptr;
  const std::int64_t line = p.padded_w, step = fixed_step > 0 ? fixed_step : g.stride_w, k = g.k;
  for_each_lanes(k, [&](std::int64_t j, auto lanes) {
    Vf w[kh * kw];
#pragma GCC unroll 32
    for (int t = 0; t < kh * kw; ++t) w[t] = lanes.load(filter + t * k + j);
    const Vf b = bias != nullptr ? lanes.load(bias + j) : Vf{};
    float* y = output<float>(call, 0) + row * g.ow * k + j;
    std::int64_t px = 0;
    const auto store = [&](std::int64_t i, Vf sum) {
      lanes.store(y + (px + i) * k, f.value(bias != nullptr ? sum + b : sum));
    };
    for (; px + together <= g.ow; px += together) some_pixels<together, kh, kw>(x + px * step, line, step, w, store);
    for (; px < g.ow; ++px) some_pixels<1, kh, kw>(x + px * step, line, step, w, store);
  });
}

}  // namespace

void conv2d_one_channel(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t rows = std::int64_t{g.n} * g.oh;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num();
    Images images = images_of(p, input<float>(call, 0), work + p.scratch_at + thread * p.scratch_each);
    const Range mine = part(rows, thread, omp_get_num_threads());
    with_taps(
        g, [&](auto kh, auto kw, auto step) __attribute__((always_inline)) {
          pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, [&](const auto& f) {
            for (std::int64_t row = mine.begin; row < mine.end; ++row) {
              images.load(row / g.oh, row / g.oh + 1);
              const float* x = images.at(row / g.oh) + row % g.oh * g.stride_h * p.padded_w;
              one_row<kh.value, kw.value, step.value>(p, call, x, row, f);
              finish_unit(p, call, row);
            }
          });
        });
  }
}

}  // namespace tenon::cpu::TENON_ISA
