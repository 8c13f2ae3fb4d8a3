// Floats rounded to bf16 while they are packed for the tiles: to nearest, ties to even; infinity stays, NaN stays NaN.
// Two neighbours along k make one 32-bit pair, the first in the lower half. A tile of a left operand holds 16 rows of 16
// pairs; one of a right operand 16 rows (k / 2) of 16 columns, which some call VNNI. So everything here moves pairs: in
// rows as they lie in memory, from two rows of floats that become one of pairs, or either of them turned.
#pragma once
#include "kernels/cpu/micro/tiles.hpp"
#include "kernels/cpu/micro/transpose.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// v rounded, in the upper half of every lane; the lower is what was cut off.
TENON_INLINE Vi rounded_upper(Vf v) {
  const Vi bits = Simd::bits(v), odd = (Vi)((Vu)bits >> 16) & 1;
  // NaN keeps its sign and becomes quiet; rounding it could end in infinity.
  return Simd::unordered(v, v) ? bits | 0x400000 : bits + 0x7FFF + odd;
}
/// What is packed of a number: all of it, rounded; or what rounding cuts off, which is rounded in its turn. The two together
/// have 16 of its 24 bits, and a sign each. Nothing is cut off from a number that is not finite, or rounds to infinity.
struct Upper {
  TENON_INLINE Vf of(Vf v) { return v; }
};
struct Lower {
  TENON_INLINE Vf of(Vf v) {
#if defined(__AVX512BF16__)
    const Vi upper = (Vi)_mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)_mm512_cvtneps_pbh((__m512)v)) << 16;
#else
    const Vi upper = rounded_upper(v) & ~0xFFFF;
#endif
    const Vf rest = v - Simd::from_bits(upper);
    return Simd::abs(rest) < __builtin_inff() ? rest : Vf{};
  }
};

/// Lanes of the lower and of the upper half of a vector in turn.
template <class V, int... l>
[[maybe_unused]] TENON_INLINE V take_turns(V v, std::integer_sequence<int, l...>) {
  return __builtin_shufflevector(v, v, (l / 2 + l % 2 * static_cast<int>(sizeof...(l)) / 2)...);
}
/// Every second lane of both, from `first` on.
template <int first, int... l>
[[maybe_unused]] TENON_INLINE Vf every_second(Vf low, Vf high, std::integer_sequence<int, l...>) {
  return __builtin_shufflevector(low, high, (first + 2 * l)...);
}

/// Lane by lane the pair (first, second).
TENON_INLINE Vi pair_up(Vf first, Vf second) {
#if defined(__AVX512BF16__)
  // All of `first`, then all of `second`: still to be shuffled into pairs.
  using Words = std::uint16_t __attribute__((vector_size(width * 4)));
  return (Vi)take_turns((Words)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first),
                        std::make_integer_sequence<int, 2 * width>{});
#else
  return (Vi)((Vu)rounded_upper(first) >> 16) | (rounded_upper(second) & ~0xFFFF);
#endif
}
/// The pairs of 2 * width neighbours, in their order.
TENON_INLINE Vi pairs_of(Vf low, Vf high) {
#if defined(__AVX512BF16__)
  return (Vi)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
#else
  constexpr std::make_integer_sequence<int, width> lanes;
  return pair_up(every_second<0>(low, high, lanes), every_second<1>(low, high, lanes));
#endif
}

TENON_INLINE void store_pairs(Bf16* to, Vi pairs) { std::memcpy(to, &pairs, sizeof pairs); }
/// Lanes [0, count) of a row, the rest 0; nothing is read where `count` is 0 or less.
template <class Half>
TENON_INLINE Vf load_lanes(const float* from, std::int64_t count) {
  return Half::of(count >= width ? Simd::load(from) : count > 0 ? Simd::load_n(from, count) : Vf{});
}

/// to[0, most) = from[0, count) rounded, 0 behind; `most` is a multiple of 2 * width.
template <class Half = Upper>
TENON_INLINE void round_row(const float* from, std::int64_t count, Bf16* to, std::int64_t most) {
  for (std::int64_t i = 0; i < most; i += 2 * width)
    store_pairs(to + i,
                pairs_of(load_lanes<Half>(from + i, count - i), load_lanes<Half>(from + i + width, count - i - width)));
}

/// Terms as rows of floats, `count` lanes of each; null is a row of zeros.
template <class Half>
TENON_INLINE Vf load_term(const float* row, std::int64_t at, std::int64_t count) {
  return row == nullptr ? Vf{} : load_lanes<Half>(row + at, count - at);
}
/// to[0, columns) = pairs of two terms, lane by lane; `columns` is a multiple of width.
template <class Half = Upper>
TENON_INLINE void pair_rows(const float* first, const float* second, std::int64_t count, Bf16* to,
                            std::int64_t columns) {
  for (std::int64_t j = 0; j < columns; j += width)
    store_pairs(to + 2 * j, pair_up(load_term<Half>(first, j, count), load_term<Half>(second, j, count)));
}
/// The same for 2 * width terms row(t), turned: to[j * to_stride] gets lane j of all, for `width` lanes.
template <class Half = Upper, class Row>
TENON_INLINE void turn_terms(const Row& row, std::int64_t count, Bf16* to, std::int64_t to_stride) {
  Vf square[width];
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i)
    square[i] =
        Simd::from_bits(pair_up(load_term<Half>(row(2 * i), 0, count), load_term<Half>(row(2 * i + 1), 0, count)));
  turn_square(square);
#pragma GCC unroll 16
  for (int j = 0; j < width; ++j) store_pairs(to + j * to_stride, Simd::bits(square[j]));
}

/// `width` rows of 2 * width terms, `stride` apart, of which `rows` and `count` are there: to[j * to_stride] gets pair j
/// of every row.
template <class Half = Upper>
TENON_INLINE void turn_pairs(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t count, Bf16* to,
                             std::int64_t to_stride) {
  Vf square[width];
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) {
    const float* row = from + i * stride;
    const std::int64_t there = i < rows ? count : 0;
    square[i] = Simd::from_bits(pairs_of(load_lanes<Half>(row, there), load_lanes<Half>(row + width, there - width)));
  }
  turn_square(square);
#pragma GCC unroll 16
  for (int j = 0; j < width; ++j) store_pairs(to + j * to_stride, Simd::bits(square[j]));
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
