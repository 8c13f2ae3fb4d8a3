// exp, log, tanh, sigmoid, erf: one chain of fma, +, -, * and / over a policy M, so that a float (Scalar), a vector of
// floats (Simd in kernels/cpu/micro/simd.hpp) and a GPU thread give the same bits. ScalarF64 calls libm instead.
// Coefficients come from fit_coefficients.py; the bounds beside each function are checked over all floats.
// Internal linkage throughout: this header is compiled once per instruction set.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels/common/inline.hpp"

namespace tenon::math {
namespace {

/// One float. Masks are 0 or -1, as in a vector, so that expressions with select() are written once.
struct Scalar {
  using V = float;
  using I = std::int32_t;
  static constexpr bool libm = false;

  TENON_INLINE V set(float x) { return x; }
  TENON_INLINE V constant(double x) { return static_cast<float>(x); }
  TENON_INLINE I set_int(std::int32_t x) { return x; }
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
  TENON_INLINE V select(I mask, V a, V b) { return mask != 0 ? a : b; }
  TENON_INLINE bool any(I mask) { return mask != 0; }
  TENON_INLINE I gt(V a, V b) { return -static_cast<I>(a > b); }
  TENON_INLINE I lt(V a, V b) { return -static_cast<I>(a < b); }
  TENON_INLINE I ge(V a, V b) { return -static_cast<I>(a >= b); }
  TENON_INLINE I le(V a, V b) { return -static_cast<I>(a <= b); }
  TENON_INLINE I unordered(V a, V b) { return -static_cast<I>(__builtin_isunordered(a, b) != 0); }
  TENON_INLINE V fma(V a, V b, V c) { return __builtin_fmaf(a, b, c); }
  TENON_INLINE V sqrt(V x) { return __builtin_sqrtf(x); }
  /// Nearest integer, ties to even. |x| < 2^22.
  TENON_INLINE V round(V x) { return (x + 12582912.f) - 12582912.f; }
  TENON_INLINE I round_to_int(V x) { return bits(x + 12582912.f) - 0x4B400000; }
  TENON_INLINE V to_float(I i) { return static_cast<float>(i); }
  TENON_INLINE V abs(V x) { return from_bits(bits(x) & 0x7FFFFFFF); }
  TENON_INLINE V max(V a, V b) { return a > b ? a : b; }
  TENON_INLINE V min(V a, V b) { return a < b ? a : b; }
};

/// One double, for the reference that others are measured against: the functions below go to libm.
struct ScalarF64 {
  using V = double;
  using I = std::int32_t;
  static constexpr bool libm = true;

  TENON_INLINE V set(float x) { return static_cast<double>(x); }
  TENON_INLINE V constant(double x) { return x; }
  TENON_INLINE V select(I mask, V a, V b) { return mask != 0 ? a : b; }
  TENON_INLINE I gt(V a, V b) { return -static_cast<I>(a > b); }
  TENON_INLINE I lt(V a, V b) { return -static_cast<I>(a < b); }
  TENON_INLINE I ge(V a, V b) { return -static_cast<I>(a >= b); }
  TENON_INLINE I le(V a, V b) { return -static_cast<I>(a <= b); }
  TENON_INLINE I unordered(V a, V b) { return -static_cast<I>(__builtin_isunordered(a, b) != 0); }
  TENON_INLINE V fma(V a, V b, V c) { return __builtin_fma(a, b, c); }
  TENON_INLINE V sqrt(V x) { return __builtin_sqrt(x); }
  TENON_INLINE V abs(V x) { return __builtin_fabs(x); }
  TENON_INLINE V max(V a, V b) { return a > b ? a : b; }
  TENON_INLINE V min(V a, V b) { return a < b ? a : b; }
};

/// The policy of the reference's element type.
template <class T>
struct PolicyOf;
template <>
struct PolicyOf<float> {
  using type = Scalar;
};
template <>
struct PolicyOf<double> {
  using type = ScalarF64;
};
template <class T>
using Policy = typename PolicyOf<T>::type;

/// c + x (more[0] + x (more[1] + ...)).
template <class M, class... More>
TENON_INLINE typename M::V polynomial(typename M::V x, float c, More... more) {
  if constexpr (sizeof...(More) == 0)
    return M::set(c);
  else
    return M::fma(polynomial<M>(x, more...), x, M::set(c));
}

inline constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f, log2_e = 0x1.715476p+0f;

/// 2^n for -126 <= n <= 127.
template <class M>
TENON_INLINE typename M::V power_of_two(typename M::I n) {
  return M::from_bits((n + M::set_int(127)) << 23);
}

/// e^x: x = n ln 2 + r, e^x = 2^n (1 + r P(r)). 0.9 ulp.
template <class M>
TENON_INLINE typename M::V exp(typename M::V x) {
  if constexpr (M::libm) {
    return __builtin_exp(x);
  } else {
    using V = typename M::V;
    using I = typename M::I;
    // Beyond these the result is infinity or 0 in any case; NaN passes, because no comparison with it is true.
    V c = M::select(M::gt(x, M::set(89.f)), M::set(89.f), x);
    c = M::select(M::lt(c, M::set(-105.f)), M::set(-105.f), c);
    const V t = c * M::set(log2_e);
    const V n = M::round(t);
    const I k = M::round_to_int(t);
    const V r = M::fma(n, M::set(-ln2_low), M::fma(n, M::set(-ln2_high), c));
    const V p =
        polynomial<M>(r, 0x1p+0f, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558aap-5f, 0x1.12396ep-7f, 0x1.6a524ep-10f);
    const V y = M::fma(r, p, M::set(1.f));
    // In two halves, because 2^128 and 2^-149 have no normal float; only the second product may round.
    const I half = k >> 1;
    return (y * power_of_two<M>(half)) * power_of_two<M>(k - half);
  }
}

/// e^x - 1 without cancellation, for x <= 0 (above 0 the result is 0): 2^n expm1(r) + (2^n - 1). 0.9 ulp.
template <class M>
TENON_INLINE typename M::V expm1_negative(typename M::V x) {
  if constexpr (M::libm) {
    return __builtin_expm1(x > 0 ? 0. : x);
  } else {
    using V = typename M::V;
    V c = M::select(M::gt(x, M::set(0.f)), M::set(0.f), x);
    c = M::select(M::lt(c, M::set(-30.f)), M::set(-30.f), c);
    const V t = c * M::set(log2_e);
    const V n = M::round(t);
    const V r = M::fma(n, M::set(-ln2_low), M::fma(n, M::set(-ln2_high), c));
    const V q =
        polynomial<M>(r, 0x1p-1f, 0x1.555554p-3f, 0x1.5554f8p-5f, 0x1.1112dcp-7f, 0x1.6d3a38p-10f, 0x1.9e69e6p-13f);
    const V s = power_of_two<M>(M::round_to_int(t));
    return M::fma(s, M::fma(r * r, q, r), s - M::set(1.f));
  }
}

/// ln x: x = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); e ln 2 + (f - f^2/2 + f^3 P(f)). 0.9 ulp.
template <class M>
TENON_INLINE typename M::V log(typename M::V x) {
  if constexpr (M::libm) {
    return __builtin_log(x);
  } else {
    using V = typename M::V;
    using I = typename M::I;
    const V inf = M::set(__builtin_inff());
    const I regular = M::gt(x, M::set(0.f)) & M::lt(x, inf);
    const I subnormal = M::lt(x, M::set(0x1p-126f));
    V y = M::select(subnormal, x * M::set(0x1p+23f), x);
    y = M::select(regular, y, M::set(1.f));
    const I k = (M::bits(y) - M::set_int(0x3F3504F3)) >> 23;
    const V f = M::from_bits(M::bits(y) - (k << 23)) - M::set(1.f);
    const V e = M::to_float(k) - M::select(subnormal, M::set(23.f), M::set(0.f));

    const V ff = f * f;
    const V p = polynomial<M>(f, 0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a01cp-3f, -0x1.54728ap-3f, 0x1.22d92ep-3f,
                              -0x1.0d8242p-3f, 0x1.055ec6p-3f, -0x1.38c9dep-4f);
    const V rest = M::fma(f * ff, p, ff * M::set(-0.5f));
    // e ln2_high is exact; what its sum with f loses is f - (high - e ln2_high), also exact.
    const V whole = e * M::set(ln2_high);
    const V high = whole + f;
    const V low = (f - (high - whole)) + M::fma(e, M::set(ln2_low), rest);
    const V result = high + low;
    // 0 gives -inf, infinity and NaN themselves, a negative number NaN.
    const V special =
        M::select(M::lt(x, M::set(0.f)), M::set(__builtin_nanf("")), M::select(M::le(x, M::set(0.f)), -inf, x));
    return M::select(regular, result, special);
  }
}

/// ln(1 + e) for 0 <= e <= 1: ln of the rounded sum, and what the sum lost. 1.26 ulp.
template <class M>
TENON_INLINE typename M::V log1p_unit(typename M::V e) {
  if constexpr (M::libm) {
    return __builtin_log1p(e);
  } else {
    const typename M::V u = M::set(1.f) + e;
    return log<M>(u) + (e - (u - M::set(1.f))) / u;
  }
}

/// |x| < 1: x + x u P(u) with u = x^2; above, 1 - 2 / (e^2x + 1). 0.96 ulp.
template <class M>
TENON_INLINE typename M::V tanh(typename M::V x) {
  if constexpr (M::libm) {
    return __builtin_tanh(x);
  } else {
    using V = typename M::V;
    const V a = M::abs(x), u = x * x;
    const V p = polynomial<M>(u, -0x1.555552p-2f, 0x1.11103cp-3f, -0x1.b9f6dap-5f, 0x1.64c044p-6f, -0x1.18db64p-7f,
                              0x1.8f862cp-9f, -0x1.ae8cbap-11f, 0x1.e76c16p-14f);
    const V near = M::fma(x * u, p, x);
    const V far = M::set(1.f) - M::set(2.f) / (exp<M>(a + a) + M::set(1.f));
    const typename M::I sign = M::bits(x) & M::set_int(INT32_MIN);
    // near has its sign already, but for the rounded sum 0 + -0.
    return M::from_bits(M::bits(M::select(M::lt(a, M::set(1.f)), near, far)) | sign);
  }
}

/// 1 / (1 + e^-x), through e^-|x| so that nothing overflows. 2.41 ulp.
template <class M>
TENON_INLINE typename M::V sigmoid(typename M::V x) {
  using V = typename M::V;
  const V one = M::set(1.f), e = exp<M>(-M::abs(x));
  return M::select(M::lt(x, M::set(0.f)), e, one) / (one + e);
}

/// |x| < 0.921875: x + x P(x^2); above, 1 - exp(-G(|x|)), which is 1 from 4 on. 1.11 ulp.
template <class M>
TENON_INLINE typename M::V erf(typename M::V x) {
  if constexpr (M::libm) {
    return __builtin_erf(x);
  } else {
    using V = typename M::V;
    const V a = M::abs(x);
    const V p = polynomial<M>(x * x, 0x1.06eba8p-3f, -0x1.81274p-2f, 0x1.ce2d64p-4f, -0x1.b80116p-6f, 0x1.5449a2p-8f,
                              -0x1.a6023p-11f, 0x1.4f3dfep-14f);
    const V near = M::fma(x, p, x);
    const V c = M::select(M::gt(a, M::set(4.f)), M::set(4.f), a);
    const V g = polynomial<M>(c, 0x1.a0637cp-13f, 0x1.20ae92p+0f, 0x1.463f62p-1f, 0x1.a9a1a6p-4f, -0x1.6c0698p-6f,
                              0x1.8e9918p-9f, -0x1.9a724ep-13f);
    const V far = M::set(1.f) - exp<M>(-g);
    const typename M::I sign = M::bits(x) & M::set_int(INT32_MIN);
    return M::select(M::lt(a, M::set(0.921875f)), near, M::from_bits(M::bits(far) | sign));
  }
}

}  // namespace
}  // namespace tenon::math
