// A 2x2 pooling window on its way out of a convolution: the winner, its position, and the gate of relu.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The first largest of a window, or its first NaN, and where it is.
struct Winner {
  Vf value;
  Vi position;
};
TENON_INLINE Winner winner_of(const Vf* v) {
  Winner best{v[0], Vi{}};
  for (int i = 1; i < 4; ++i) {
    const Vi wins = v[i] > best.value;
    best = {wins ? v[i] : best.value, wins ? Vi{} + i : best.position};
  }
  // NaN is rare, and every comparison with it false: it has its own way.
  if (__builtin_expect(Simd::any(Simd::unordered(v[0], v[1]) | Simd::unordered(v[2], v[3])), 0)) {
    best = {v[0], Vi{}};
    for (int i = 1; i < 4; ++i) {
      const Vi wins = (v[i] > best.value) | ((v[i] != v[i]) & (best.value == best.value));
      best = {wins ? v[i] : best.value, wins ? Vi{} + i : best.position};
    }
  }
  return best;
}
/// The activation behind a pool is relu or none: relu of the largest is the largest relu, and the winner of a window
/// without a positive value does not count.
TENON_INLINE Winner gated(const Winner& w, bool relu) {
  if (!relu) return w;
  const Vi dead = w.value <= Vf{};
  return {dead ? Vf{} : w.value, dead ? Vi{} + std::int32_t{op::Epilogue::killed} : w.position};
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
