// One vector of floats per instruction set: GCC vector extensions for arithmetic and comparison, intrinsics where the
// language has no word (fma, sqrt, partial loads). `Simd` has the same members as `Scalar` in
// kernels/common/math.hpp, so that the polynomials are written once and give the same bits in both.
// Internal linkage throughout: this header is compiled once per instruction set, and a weak symbol would let the
// linker pick the wrong copy.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels/common/inline.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

#if defined(__AVX512F__)
inline constexpr int width = 16;
#elif defined(__AVX2__)
inline constexpr int width = 8;
#else
inline constexpr int width = 4;
#endif
/// Vector registers.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int registers = 32;
#else
inline constexpr int registers = 16;
#endif
/// Whether `Simd::fma` rounds once. Levels without that are not canonical.
#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

using Vf = float __attribute__((vector_size(width * 4)));
using Vi = std::int32_t __attribute__((vector_size(width * 4)));
using Vu = std::uint32_t __attribute__((vector_size(width * 4)));

/// Lanes that are read and written one by one are a vector again from here on, not so many scalars.
TENON_INLINE void keep_vector([[maybe_unused]] Vf& v) {
#if defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

struct Simd {
  using V = Vf;
  using I = Vi;  // also the type of masks: all ones or zero per lane
  static constexpr int width = TENON_ISA::width;
  static constexpr bool libm = false;

  /// x in every lane. A difference, because 0 + x would lose the sign of -0; it compiles to a broadcast.
  TENON_INLINE V set(float x) { return x - V{}; }
  TENON_INLINE V constant(double x) { return set(static_cast<float>(x)); }
  TENON_INLINE I set_int(std::int32_t x) { return I{} + x; }
  TENON_INLINE V load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  TENON_INLINE void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
  TENON_INLINE I bits(V v) {
    I i;
    std::memcpy(&i, &v, sizeof i);
    return i;
  }
  TENON_INLINE V from_bits(I i) {
    V v;
    std::memcpy(&v, &i, sizeof v);
    return v;
  }
  TENON_INLINE V select(I mask, V a, V b) { return mask ? a : b; }
  // Comparisons by name: for one float an operator would give a bool, which is no mask. All but `unordered` are false
  // where an operand is NaN.
  TENON_INLINE I gt(V a, V b) { return a > b; }
  TENON_INLINE I lt(V a, V b) { return a < b; }
  TENON_INLINE I ge(V a, V b) { return a >= b; }
  TENON_INLINE I le(V a, V b) { return a <= b; }
  TENON_INLINE I unordered(V a, V b) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return (I)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q);
#else
    return (a != a) | (b != b);
#endif
  }
  TENON_INLINE bool any(I mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__aarch64__)
    return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
    std::int32_t lanes[width], acc = 0;
    std::memcpy(lanes, &mask, sizeof mask);
    for (int i = 0; i < width; ++i) acc |= lanes[i];
    return acc != 0;
#endif
  }

  /// Lanes [0, count) from memory, the rest zero; count < width. Reads nothing beyond them.
  TENON_INLINE V load_n(const float* p, std::int64_t count) {
#if defined(__AVX512F__)
    return (V)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), p);
#elif defined(__AVX2__)
    return (V)_mm256_maskload_ps(p, (__m256i)(lane_index() < set_int(static_cast<std::int32_t>(count))));
#else
    V v{};
    for (int l = 0; l + 1 < width; ++l)  // memcpy of a length unknown here would be a call
      if (l < count) v[l] = p[l];
    keep_vector(v);
    return v;
#endif
  }
  TENON_INLINE void store_n(float* p, V v, std::int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1u), (__m512)v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, (__m256i)(lane_index() < set_int(static_cast<std::int32_t>(count))), (__m256)v);
#else
    keep_vector(v);
    for (int l = 0; l + 1 < width; ++l)
      if (l < count) p[l] = v[l];
#endif
  }
  /// 0, 1, 2, ...
  TENON_INLINE I lane_index() {
    I i;
    for (int l = 0; l < width; ++l) i[l] = l;
    return i;
  }

  /// a * b + c with one rounding where the level has FMA (has_fma); the baseline rounds twice.
  TENON_INLINE V fma(V a, V b, V c) {
#if defined(__AVX512F__)
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    // One fmla. GCC 12 takes the intrinsic for a call that may read memory, and stores all accumulators before it.
    return V{__builtin_fmaf(a[0], b[0], c[0]), __builtin_fmaf(a[1], b[1], c[1]), __builtin_fmaf(a[2], b[2], c[2]),
             __builtin_fmaf(a[3], b[3], c[3])};
#else
    return a * b + c;
#endif
  }
  TENON_INLINE V sqrt(V x) {
#if defined(__AVX512F__)
    return (V)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)x);  // GCC 12 warns about the plain form's own header
#elif defined(__AVX2__)
    return (V)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (V)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
    return (V)vsqrtq_f32((float32x4_t)x);
#else
    for (int l = 0; l < width; ++l) x[l] = __builtin_sqrtf(x[l]);
    return x;
#endif
  }
  /// Nearest integer, ties to even, as a float. |x| < 2^22.
  TENON_INLINE V round(V x) {
    const V magic = set(12582912.f);  // 1.5 * 2^23
    return (x + magic) - magic;
  }
  /// The same as an integer. |x| < 2^22.
  TENON_INLINE I round_to_int(V x) { return bits(x + set(12582912.f)) - set_int(0x4B400000); }
  TENON_INLINE V to_float(I i) { return __builtin_convertvector(i, V); }
  TENON_INLINE V abs(V x) { return from_bits(bits(x) & set_int(0x7FFFFFFF)); }
  /// First operand where the comparison is true, so NaN handling is what the expression says.
  TENON_INLINE V max(V a, V b) { return select(a > b, a, b); }
  TENON_INLINE V min(V a, V b) { return select(a < b, a, b); }
};

/// Calls body(offset) for whole vectors and tail(offset, count) for the rest of [0, n).
template <class Body, class Tail>
TENON_INLINE void for_each_vector(std::int64_t n, Body&& body, Tail&& tail) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) body(i);
  if (i < n) tail(i, n - i);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
