// Optimizer formulas, one element at a time, over a policy M as in kernels/common/math.hpp: the vector loops, the GPU
// and the reference share these lines, so that `fp32` gives the same bits on all of them.
//   lr = schedule's rate * lr_scale          (Common::lr)
//   g  = clip_scale g where clipped, then, unless the decay is decoupled, g = g + weight_decay p
// Operands g, p and the states s[] in the order that is given at each rule; p and s are replaced.
#pragma once
#include <cstdint>

#include "kernels/common/inline.hpp"

namespace tenon::update {
namespace {

/// base^exponent by repeated squaring, so that no libm has a say in the bits.
TENON_INLINE double pow_int(double base, std::uint32_t exponent) {
  double power = 1.;
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1u) != 0) power *= base;
    base *= base;
  }
  return power;
}

struct Common {
  float lr = 0.f, weight_decay = 0.f;
  bool clipped = false;
  float clip_scale = 1.f;
};
struct Sgd {
  Common common;
  float momentum = 0.f;
  bool nesterov = false;
};
struct Adadelta {
  Common common;
  float rho = 0.f, epsilon = 0.f;
};
struct Adagrad {
  Common common;
  float epsilon = 0.f;
};
struct Rmsprop {
  Common common;
  float rho = 0.f, momentum = 0.f, epsilon = 0.f;
  bool epsilon_inside = true;
};
struct Adam {
  Common common;
  float beta1 = 0.f, beta2 = 0.f, epsilon = 0.f;
  bool decoupled = false;
  double correction1 = 1., correction2 = 1.;  // see correct_bias
};

/// t: this update's number, from 1.
TENON_INLINE Adam correct_bias(Adam rule, std::uint32_t t) {
  rule.correction1 = 1. - pow_int(static_cast<double>(rule.beta1), t);
  rule.correction2 = 1. - pow_int(static_cast<double>(rule.beta2), t);
  return rule;
}

template <class M>
TENON_INLINE typename M::V gradient(const Common& c, typename M::V g, typename M::V p, bool decoupled = false) {
  if (c.clipped) g = g * M::set(c.clip_scale);
  if (c.weight_decay != 0.f && !decoupled) g = M::fma(M::set(c.weight_decay), p, g);
  return g;
}
template <class M>
TENON_INLINE typename M::V one_minus(float x) {
  return M::set(1.f) - M::set(x);
}
/// Running mean: rho mean + (1 - rho) x.
template <class M>
TENON_INLINE typename M::V decayed(float rho, typename M::V mean, typename M::V x) {
  return M::fma(M::set(rho), mean, one_minus<M>(rho) * x);
}

/// v = momentum v + g; p -= lr v, or with Nesterov p -= lr (g + momentum v). The velocity does not hold the rate, as in
/// PyTorch: a schedule acts at once. Sutskever et al. 2013, "On the importance of initialization and momentum in deep
/// learning". s: v with momentum, else none.
template <class M>
TENON_INLINE void step(const Sgd& r, typename M::V g, typename M::V& p, typename M::V* s) {
  g = gradient<M>(r.common, g, p);
  if (r.momentum != 0.f) {
    s[0] = M::fma(M::set(r.momentum), s[0], g);
    g = r.nesterov ? M::fma(M::set(r.momentum), s[0], g) : s[0];
  }
  p = M::fma(-M::set(r.common.lr), g, p);
}

/// a = rho a + (1 - rho) g^2; dx = sqrt((d + eps) / (a + eps)) g; p -= lr dx; d = rho d + (1 - rho) dx^2.
/// Zeiler 2012, "ADADELTA: an adaptive learning rate method". s: a, d.
template <class M>
TENON_INLINE void step(const Adadelta& r, typename M::V g, typename M::V& p, typename M::V* s) {
  using V = typename M::V;
  const V epsilon = M::set(r.epsilon);
  g = gradient<M>(r.common, g, p);
  s[0] = decayed<M>(r.rho, s[0], g * g);
  // The root of the quotient: one square root fewer than a quotient of roots, and they decide the time of this step.
  const V dx = M::sqrt((s[1] + epsilon) / (s[0] + epsilon)) * g;
  p = M::fma(-M::set(r.common.lr), dx, p);
  s[1] = decayed<M>(r.rho, s[1], dx * dx);
}

/// a = a + g^2; p -= lr g / (sqrt(a) + eps). Duchi, Hazan, Singer 2011, "Adaptive subgradient methods". s: a.
template <class M>
TENON_INLINE void step(const Adagrad& r, typename M::V g, typename M::V& p, typename M::V* s) {
  g = gradient<M>(r.common, g, p);
  s[0] = M::fma(g, g, s[0]);
  p = M::fma(-M::set(r.common.lr), g / (M::sqrt(s[0]) + M::set(r.epsilon)), p);
}

/// v = rho v + (1 - rho) g^2; step = g / sqrt(v + eps) as in Keras, or g / (sqrt(v) + eps) as in PyTorch;
/// m = momentum m + step; p -= lr m. Tieleman, Hinton 2012, Coursera lecture 6.5. s: v, and m with momentum.
template <class M>
TENON_INLINE void step(const Rmsprop& r, typename M::V g, typename M::V& p, typename M::V* s) {
  using V = typename M::V;
  const V epsilon = M::set(r.epsilon);
  g = gradient<M>(r.common, g, p);
  s[0] = decayed<M>(r.rho, s[0], g * g);
  g = r.epsilon_inside ? g / M::sqrt(s[0] + epsilon) : g / (M::sqrt(s[0]) + epsilon);
  if (r.momentum != 0.f) {
    s[1] = M::fma(M::set(r.momentum), s[1], g);
    g = s[1];
  }
  p = M::fma(-M::set(r.common.lr), g, p);
}

/// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
/// Kingma, Ba 2015, "Adam". Decoupled: p -= lr weight_decay p first; Loshchilov, Hutter 2019, "Decoupled weight decay
/// regularization". s: m, v.
template <class M>
TENON_INLINE void step(const Adam& r, typename M::V g, typename M::V& p, typename M::V* s) {
  using V = typename M::V;
  const V minus_lr = -M::set(r.common.lr);
  g = gradient<M>(r.common, g, p, r.decoupled);
  s[0] = decayed<M>(r.beta1, s[0], g);
  s[1] = decayed<M>(r.beta2, s[1], g * g);
  const V m = s[0] / M::constant(r.correction1), v = s[1] / M::constant(r.correction2);
  if (r.decoupled && r.common.weight_decay != 0.f) p = M::fma(minus_lr * M::set(r.common.weight_decay), p, p);
  p = M::fma(minus_lr, m / (M::sqrt(v) + M::set(r.epsilon)), p);
}

/// Sum of the scaled gradients of several micro-batches.
template <class M>
TENON_INLINE typename M::V accumulate(float scale, bool first, typename M::V sum, typename M::V g) {
  return first ? M::set(scale) * g : M::fma(M::set(scale), g, sum);
}

/// Divides a gradient of the scaled loss by the scale; the mask says where that is not finite.
template <class M>
TENON_INLINE typename M::I unscale(float scale, typename M::V& g) {
  g = g * M::set(scale);
  return ~M::le(g - g, M::set(0.f));  // infinity minus itself is a NaN, which compares false
}

/// min(1, max_norm / norm); a NaN stays NaN. Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent
/// neural networks". For policies of one element only.
template <class M>
TENON_INLINE typename M::V clip_scale(float max_norm, typename M::V norm) {
  const typename M::V limit = M::set(max_norm), one = M::set(1.f);
  return norm > limit ? limit / norm : (norm == norm ? one : norm);
}

/// momentum state + (1 - momentum) value; momentum 0 replaces the state, whatever it holds.
template <class M>
TENON_INLINE typename M::V ema(float momentum, typename M::V state, typename M::V value) {
  return momentum == 0.f ? value : decayed<M>(momentum, state, value);
}

}  // namespace
}  // namespace tenon::update
