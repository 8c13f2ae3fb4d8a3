// Philox4x32-10 of kernels/common/philox.hpp for the draws of 8 * width neighbouring elements at a time: each lane runs one
// counter, and a transposition puts the words into the order of their elements. Used by dropout, alone and in epilogues.
#pragma once
#include <utility>

#include "kernels/common/philox.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

using Vul = std::uint64_t __attribute__((vector_size(width * 4)));

/// Products of the low halves of 64-bit lanes.
TENON_INLINE Vul multiply_low(Vul a, std::uint32_t b) {
#if defined(__AVX512F__)
  return (Vul)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  return (Vul)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__)
  return (Vul)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#elif defined(__aarch64__)
  return (Vul)vmull_n_u32(vmovn_u64((uint64x2_t)a), b);
#else
  return (a & 0xFFFFFFFFu) * b;
#endif
}

/// Philox counters of every second block, one in the low half of each 64-bit lane: a product leaves its low word where
/// the next round wants it, and what is above it is never looked at.
struct Counters {
  Vul c0, c1, c2, c3;
};
TENON_INLINE void philox_round(Counters& c, philox::Key key) {
  const Vul p0 = multiply_low(c.c0, philox::multiplier_0), p1 = multiply_low(c.c2, philox::multiplier_1);
  c = {(p1 >> 32) ^ c.c1 ^ key.k0, p1, (p0 >> 32) ^ c.c3 ^ key.k1, p0};
}
/// The low words of `even` and `odd` in turn.
TENON_INLINE Vu in_turn(Vul even, Vul odd) { return (Vu)((even & 0xFFFFFFFFu) | (odd << 32)); }

/// a[0], b[0], a[1], b[1], ... from the low or the high half of the lanes.
template <int from, int... lane>
TENON_INLINE Vu interleave(Vu a, Vu b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (from + lane / 2 + lane % 2 * width)...);
}
TENON_INLINE Vu interleave_low(Vu a, Vu b) { return interleave<0>(a, b, std::make_integer_sequence<int, width>{}); }
TENON_INLINE Vu interleave_high(Vu a, Vu b) {
  return interleave<width / 2>(a, b, std::make_integer_sequence<int, width>{});
}

/// Vector `number`, 0 or 1, of the sequence: four of a, four of b, the next four of a, ...
template <int number, int... lane>
TENON_INLINE Vu take_fours(Vu a, Vu b, std::integer_sequence<int, lane...>) {
  constexpr int first = number * width;
  return __builtin_shufflevector(a, b,
                                 ((first + lane) / 8 * 4 + (first + lane) % 4 + (first + lane) % 8 / 4 * width)...);
}
/// Draws of some neighbouring blocks, from their words in order.
TENON_INLINE void draws_of(Vu words, Vu to[2]) {
  constexpr std::make_integer_sequence<int, width> lanes;
  const Vu lower = words << 16;
  to[0] = take_fours<0>(lower, words, lanes);
  to[1] = take_fours<1>(lower, words, lanes);
}

/// Elements whose draws come together.
inline constexpr std::int64_t draws_together = 8 * width;
/// The draws of elements 8 * block ... 8 * (block + width) - 1, in their order.
TENON_INLINE void philox_draws(philox::Key key, std::uint32_t block, std::uint32_t site, std::uint32_t step,
                               std::uint32_t epoch, Vu to[8]) {
  const Vul number = (Vul)((Vu)Simd::lane_index() + block);
  Counters even{number, Vul{} + site, Vul{} + step, Vul{} + epoch},
      odd{number >> 32, Vul{} + site, Vul{} + step, Vul{} + epoch};
  for (int round = 0; round < philox::rounds; ++round) {
    philox_round(even, key);
    philox_round(odd, key);
    key.k0 += philox::weyl_0;
    key.k1 += philox::weyl_1;
  }
  const Vu c0 = in_turn(even.c0, odd.c0), c1 = in_turn(even.c1, odd.c1), c2 = in_turn(even.c2, odd.c2),
           c3 = in_turn(even.c3, odd.c3);
  const Vu even_low = interleave_low(c0, c2), odd_low = interleave_low(c1, c3);
  const Vu even_high = interleave_high(c0, c2), odd_high = interleave_high(c1, c3);
  draws_of(interleave_low(even_low, odd_low), to);
  draws_of(interleave_high(even_low, odd_low), to + 2);
  draws_of(interleave_low(even_high, odd_high), to + 4);
  draws_of(interleave_high(even_high, odd_high), to + 6);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
