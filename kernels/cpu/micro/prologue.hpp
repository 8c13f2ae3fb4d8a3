// The epilogue's last part and its inverse, flat over elements: dropout with the mask byte, and dz from the gradient of
// the epilogue's output where nothing was pooled.
#pragma once
#include "kernels/common/pointwise.hpp"
#include "kernels/cpu/micro/philox.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// y[0, count), elements `first`... of the op's output: closes the relu gate in the mask, then drops and scales.
TENON_INLINE void finish_masked(float* y, std::uint8_t* mask, std::int64_t first, std::int64_t count, bool relu,
                                float rate, std::int32_t site, const Control& control) {
  const philox::Key key = philox::key(control.seed, philox::Purpose::dropout);
  const std::uint32_t threshold = philox::dropout_threshold(rate);
  const float scale = philox::dropout_scale(rate);
  const auto step = [&](std::int64_t i, Vu draws, auto lanes, std::int64_t lane_count) {
    Vf v = lanes.load(y + i);
    Vi killed = relu ? v <= Vf{} : Vi{};
    if (rate != 0.f) {
      const Vi dropped = (Vi)(draws < threshold);
      v = dropped ? Vf{} : v * scale;
      killed |= dropped;
      lanes.store(y + i, v);
    }
    store_bytes(mask + i, load_bytes(mask + i, lane_count) | narrow(killed), lane_count);
  };
  std::int64_t i = 0;
  while (i < count) {
    const std::uint64_t element = static_cast<std::uint64_t>(first + i);
    if (rate == 0.f || element % 8 == 0) {
      Vu draws[8] = {};
      if (rate != 0.f)
        philox_draws(key, philox::draw_block(element), static_cast<std::uint32_t>(site), control.step, control.epoch,
                     draws);
#pragma GCC unroll 8
      for (int v = 0; v < 8; ++v, i += width) {
        if (i + width <= count)
          step(i, draws[v], Whole{}, width);
        else if (i < count)
          step(i, draws[v], Part{count - i}, count - i);
      }
    } else {
      const std::uint32_t draw =
          philox::draw(key, element, static_cast<std::uint32_t>(site), control.step, control.epoch);
      step(i, Vu{} + draw, Part{1}, 1);
      ++i;
    }
  }
}

/// dz[0, count) from gy and the saved mask or y; dead elements become 0.
TENON_INLINE void undo_epilogue(const PrologueGeometry& p, const float* gy, const void* saved, float* dz,
                                std::int64_t count) {
  if (p.mask) {
    const auto* mask = static_cast<const std::uint8_t*>(saved);
    const float scale = p.dropout > 0.f ? philox::dropout_scale(p.dropout) : 1.f;
    for_each_lanes(count, [&](std::int64_t i, auto lanes) {
      const Vi killed = widen(load_bytes(mask + i, count - i)) == std::int32_t{op::Epilogue::killed};
      lanes.store(dz + i, killed ? Vf{} : lanes.load(gy + i) * scale);
    });
    return;
  }
  const auto* y = static_cast<const float*>(saved);
  pointwise::with_unary<Simd>(p.activation, p.alpha, 0.f, [&](const auto& f) {
    for_each_lanes(count, [&](std::int64_t i, auto lanes) {
      lanes.store(dz + i, f.gradient(lanes.load(gy + i), lanes.load(y + i)));
    });
  });
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
