// Philox4x32-10 of kernels/common/philox.hpp for 4 * width neighbouring elements at a time: each lane runs one counter,
// and a transposition puts the words into the order of their elements. Used by dropout, alone and in epilogues.
#pragma once
#include <utility>

#include "kernels/common/philox.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

using Vul = std::uint64_t __attribute__((vector_size(width * 4)));

/// High and low halves of a[l] * b.
TENON_INLINE void multiply_wide(Vu a, std::uint32_t b, Vu& high, Vu& low) {
  // The even lanes and the odd lanes, as 64-bit products.
  const Vul pairs = (Vul)a;
#if defined(__AVX512F__)
  const Vul even = (Vul)_mm512_maskz_mul_epu32(0xFF, (__m512i)pairs, _mm512_set1_epi32(static_cast<std::int32_t>(b)));
  const Vul odd =
      (Vul)_mm512_maskz_mul_epu32(0xFF, (__m512i)(pairs >> 32), _mm512_set1_epi32(static_cast<std::int32_t>(b)));
#elif defined(__AVX2__)
  const Vul even = (Vul)_mm256_mul_epu32((__m256i)pairs, _mm256_set1_epi32(static_cast<std::int32_t>(b)));
  const Vul odd = (Vul)_mm256_mul_epu32((__m256i)(pairs >> 32), _mm256_set1_epi32(static_cast<std::int32_t>(b)));
#elif defined(__SSE2__)
  const Vul even = (Vul)_mm_mul_epu32((__m128i)pairs, _mm_set1_epi32(static_cast<std::int32_t>(b)));
  const Vul odd = (Vul)_mm_mul_epu32((__m128i)(pairs >> 32), _mm_set1_epi32(static_cast<std::int32_t>(b)));
#else
  const Vul even = (pairs & 0xFFFFFFFFu) * b, odd = (pairs >> 32) * b;
#endif
  low = (Vu)((even & 0xFFFFFFFFu) | (odd << 32));
  high = (Vu)((even >> 32) | (odd & 0xFFFFFFFF00000000u));
}

/// a[0], b[0], a[1], b[1], ... from the low or the high half of the lanes.
template <int from, int... lane>
TENON_INLINE Vu interleave(Vu a, Vu b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (from + lane / 2 + lane % 2 * width)...);
}
TENON_INLINE Vu interleave_low(Vu a, Vu b) { return interleave<0>(a, b, std::make_integer_sequence<int, width>{}); }
TENON_INLINE Vu interleave_high(Vu a, Vu b) {
  return interleave<width / 2>(a, b, std::make_integer_sequence<int, width>{});
}

/// The words of elements 4 * block ... 4 * (block + width) - 1, in their order.
TENON_INLINE void philox_words(philox::Key key, std::uint32_t block, std::uint32_t site, std::uint32_t step,
                               std::uint32_t epoch, Vu to[4]) {
  Vu c0 = (Vu)Simd::lane_index() + block, c1 = Vu{} + site, c2 = Vu{} + step, c3 = Vu{} + epoch;
  for (int round = 0; round < philox::rounds; ++round) {
    Vu high_0, low_0, high_1, low_1;
    multiply_wide(c0, philox::multiplier_0, high_0, low_0);
    multiply_wide(c2, philox::multiplier_1, high_1, low_1);
    c0 = high_1 ^ c1 ^ key.k0;
    c1 = low_1;
    c2 = high_0 ^ c3 ^ key.k1;
    c3 = low_0;
    key.k0 += philox::weyl_0;
    key.k1 += philox::weyl_1;
  }
  const Vu even_low = interleave_low(c0, c2), odd_low = interleave_low(c1, c3);
  const Vu even_high = interleave_high(c0, c2), odd_high = interleave_high(c1, c3);
  to[0] = interleave_low(even_low, odd_low);
  to[1] = interleave_high(even_low, odd_low);
  to[2] = interleave_low(even_high, odd_high);
  to[3] = interleave_high(even_high, odd_high);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
