// Live terms behind a 2x2 pool, picked from vectors: AVX-512 squeezes the lanes that a mask names to the front, so a list
// grows without a branch a term.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Terms as two lists: where what they are multiplied with begins, and dz.
struct Terms {
  std::int32_t* at;
  float* dz;
};

#if defined(__AVX512DQ__)
inline constexpr bool squeezes = true;
/// Floats behind the end of a list that appending may write.
inline constexpr std::int64_t list_slack = width;

/// Puts the lanes of `at` and `dz` where `live` is set at `to`; returns how many they are.
TENON_INLINE std::int64_t append_live(const Terms& to, Vi at, Vf dz, Vi live) {
  const __mmask16 lanes = _mm512_movepi32_mask((__m512i)live);
  const __m512i places = _mm512_maskz_compress_epi32(lanes, (__m512i)at);
  const __m512 values = _mm512_maskz_compress_ps(lanes, (__m512)dz);
  std::memcpy(to.at, &places, sizeof places);
  std::memcpy(to.dz, &values, sizeof values);
  return __builtin_popcount(lanes);
}
#else
inline constexpr bool squeezes = false;
inline constexpr std::int64_t list_slack = 0;
TENON_INLINE std::int64_t append_live(const Terms&, Vi, Vf, Vi) { return 0; }
#endif

/// 0, step, 2 step, ...
TENON_INLINE Vi multiples_of(std::int32_t step) {
  Vi v{};
  for (int i = 0; i < width; ++i) v[i] = i * step;
  return v;
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
