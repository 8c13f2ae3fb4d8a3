// The way of a convolution's sums out to y and mask: bias, activation, 2x2 pool. Dropout follows over whole units
// (finish_unit).
#pragma once
#include "kernels/cpu/micro/conv2d_pooled.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Sums of some neighbouring filters over the pixels of one row or two; steps in floats.
struct Sums {
  const float* at;
  std::int64_t step, line;  // from pixel to pixel, from row to row
};

/// y of one row: bias and activation. `k` is the first filter of the panel.
template <class F>
TENON_INLINE void store_row(const Conv2dPlan& p, const Sums& z, const float* bias, const F& f, std::int64_t k,
                            std::int64_t count, float* y) {
  for_each_lanes(count, [&](std::int64_t j, auto lanes) {
    const Vf b = bias != nullptr ? lanes.load(bias + k + j) : Vf{};
    for (std::int64_t px = 0; px < p.g.ow; ++px) {
      const Vf v = lanes.load(z.at + px * z.step + j);
      lanes.store(y + px * p.g.k + k + j, f.value(bias != nullptr ? v + b : v));
    }
  });
}

/// y of one pooled row from two rows of z, and the mask where there is one.
template <bool relu, bool masks>
TENON_INLINE void store_pooled(const Conv2dPlan& p, const Sums& z, const float* bias, std::int64_t k,
                               std::int64_t count, float* y, std::uint8_t* mask) {
  for_each_lanes(count, [&](std::int64_t j, auto lanes) {
    const Vf b = bias != nullptr ? lanes.load(bias + k + j) : Vf{};
    const bool finite = !Simd::any(Simd::unordered(b - b, b));  // infinity - infinity is no number
    for (std::int64_t px = 0; px < p.g.pw; ++px) {
      const float* window = z.at + 2 * px * z.step + j;
      Vf v[4] = {lanes.load(window), lanes.load(window + z.step), lanes.load(window + z.line),
                 lanes.load(window + z.line + z.step)};
      // Rounding keeps the order: the largest with the bias is that of the largest without, but not which one it is.
      const bool first = masks || !finite;
      if (bias != nullptr && first)
        for (Vf& each : v) each += b;
      Winner best = winner_of(v);
      if (bias != nullptr && !first) best.value += b;
      best = gated(best, relu);
      lanes.store(y + px * p.g.k + k + j, best.value);
      if constexpr (masks) store_bytes(mask + px * p.g.k + k + j, narrow(best.position), count - j);
    }
  });
}

/// Some filters of one unit (a row, or the two rows of a pooled one) from z to y and mask.
TENON_INLINE void store_unit(const Conv2dPlan& p, const Call& call, const Sums& z, std::int64_t unit, std::int64_t k,
                             std::int64_t count) {
  const std::int64_t at = unit * p.g.pw * p.g.k;
  const float* bias = p.g.bias ? input<float>(call, 2) : nullptr;
  float* y = output<float>(call, 0) + at;
  const auto fn = static_cast<op::UnaryFn>(p.g.activation);
  if (p.g.pool) {
    std::uint8_t* mask = p.g.mask ? output<std::uint8_t>(call, 1) + at : nullptr;
    const bool relu = fn == op::UnaryFn::relu;
    if (mask != nullptr)
      return relu ? store_pooled<true, true>(p, z, bias, k, count, y, mask)
                  : store_pooled<false, true>(p, z, bias, k, count, y, mask);
    return relu ? store_pooled<true, false>(p, z, bias, k, count, y, mask)
                : store_pooled<false, false>(p, z, bias, k, count, y, mask);
  }
  pointwise::with_unary<Simd>(fn, p.g.alpha, 0.f, [&](const auto& f) { store_row(p, z, bias, f, k, count, y); });
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
