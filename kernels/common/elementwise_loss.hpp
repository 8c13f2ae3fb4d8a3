// The losses between two numbers, over a policy M (kernels/common/math.hpp); t is the target.
//
//   sigmoid_crossentropy on a logit x      max(x, 0) - x t + ln(1 + e^-|x|);   g (sigmoid(x) - t)
//   binary_crossentropy on a probability p, q = p clipped to [eps, 1 - eps]
//                                          -(t ln q + (1 - t) ln(1 - q));      g (q - t) / (q (1 - q)), 0 where clipped
// NaN passes through the clipping and through every formula.
#pragma once
#include "kernels/common/math.hpp"

namespace tenon::pointwise {
namespace {

template <class M>
struct SigmoidCrossEntropy {
  using V = typename M::V;
  TENON_INLINE V value(V x, V t) {
    const V above = M::select(M::le(x, M::set(0.f)), M::set(0.f), x);
    return M::fma(-x, t, above) + math::log1p_unit<M>(math::exp<M>(-M::abs(x)));
  }
  TENON_INLINE V gradient(V g, V x, V t) { return (math::sigmoid<M>(x) - t) * g; }
};

template <class M>
struct BinaryCrossEntropy {
  using V = typename M::V;
  float epsilon;
  TENON_MEMBER V clipped(V p) const {
    const V low = M::set(epsilon), high = M::set(1.f) - low;
    return M::select(M::lt(p, low), low, M::select(M::gt(p, high), high, p));
  }
  TENON_MEMBER V value(V p, V t) const {
    const V q = clipped(p), one = M::set(1.f);
    const V with = t * math::log<M>(q), without = (one - t) * math::log<M>(one - q);
    return -(with + without);
  }
  TENON_MEMBER V gradient(V g, V p, V t) const {
    const V q = clipped(p), one = M::set(1.f);
    const V slope = (q - t) / (q * (one - q));
    return M::select(M::lt(p, q), M::set(0.f), M::select(M::gt(p, q), M::set(0.f), slope * g));
  }
};

}  // namespace
}  // namespace tenon::pointwise
