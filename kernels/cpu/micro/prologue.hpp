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
  const auto one = [&](std::int64_t i, std::uint32_t word) {
    if (relu && y[i] <= 0.f) mask[i] = op::Epilogue::killed;
    if (rate == 0.f) return;
    if (word >= threshold) {
      y[i] *= scale;
    } else {
      y[i] = 0.f;
      mask[i] = op::Epilogue::killed;
    }
  };
  constexpr std::int64_t block = 4 * width;
  std::int64_t i = 0;
  while (i < count) {
    const std::uint64_t element = static_cast<std::uint64_t>(first + i);
    if (rate == 0.f || (element % 4 == 0 && i + block <= count)) {
      const std::int64_t n = smaller(block, count - i);
      std::uint32_t words[block] = {};
      if (rate != 0.f) {
        Vu v[4];
        philox_words(key, static_cast<std::uint32_t>(element / 4), static_cast<std::uint32_t>(site), control.step,
                     control.epoch, v);
        std::memcpy(words, v, sizeof words);
      }
      for (std::int64_t j = 0; j < n; ++j) one(i + j, words[j]);
      i += n;
    } else {
      one(i, philox::word(key, element, static_cast<std::uint32_t>(site), control.step, control.epoch));
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
    for (std::int64_t i = 0; i < count; ++i) dz[i] = mask[i] == op::Epilogue::killed ? 0.f : gy[i] * scale;
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
