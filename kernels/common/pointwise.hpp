// The pointwise functions over a policy M (kernels/common/math.hpp): value, and gradient g f'(x) from the saved x or
// y = f(x), as op::unary_gradient_reads_output says. Vectors, the reference and the GPU share these lines.
//
//   function     value                          gradient
//   identity     x                              g
//   relu         y <= 0 dead: 0, else x         0 where y <= 0, else g
//   leaky_relu   alpha x for x <= 0, else x     alpha g where y <= 0, else g
//   elu          alpha (e^x - 1) for x <= 0     (y + alpha) g where y <= 0, else g
//   gelu         x/2 (1 + erf(x / sqrt 2))      g (Phi(x) + x phi(x)), Phi = (1 + erf(x / sqrt 2))/2
//   silu         x s, s = sigmoid(x)            g s (1 + x (1 - s))
//   sigmoid      1 / (1 + e^-x)                 g y (1 - y)
//   tanh         tanh x                         g (1 - y^2)
//   affine       alpha x + beta                 alpha g
//   exp, log     e^x, ln x                      g y, g / x
//   sqrt         sqrt x                         g / (2 y)
//   square       x^2                            2 x g
//   abs          |x|                            g sign(x), 0 at 0
// A gate asks for `y <= 0`, so that NaN takes the live side: NaN goes through every value and every live gradient.
// gelu and silu of -infinity are NaN, infinity times 0.
#pragma once
#include "kernels/common/math.hpp"
#include "tenon/op.hpp"

namespace tenon::pointwise {
namespace {

template <class M>
struct Identity {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return x; }
  TENON_INLINE V gradient(V g, V) { return g; }
};
template <class M>
struct Relu {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return gradient(x, x); }
  TENON_INLINE V gradient(V g, V y) { return M::select(M::le(y, M::set(0.f)), M::set(0.f), g); }
};
template <class M>
struct LeakyRelu {
  using V = typename M::V;
  float alpha;
  TENON_MEMBER V value(V x) const { return gradient(x, x); }
  TENON_MEMBER V gradient(V g, V y) const { return M::select(M::le(y, M::set(0.f)), M::set(alpha) * g, g); }
};
template <class M>
struct Elu {
  using V = typename M::V;
  float alpha;
  TENON_MEMBER V value(V x) const {
    return M::select(M::le(x, M::set(0.f)), M::set(alpha) * math::expm1_negative<M>(x), x);
  }
  TENON_MEMBER V gradient(V g, V y) const { return M::select(M::le(y, M::set(0.f)), g * (y + M::set(alpha)), g); }
};
template <class M>
struct Gelu {
  using V = typename M::V;
  /// Phi, the normal distribution function.
  TENON_INLINE V distribution(V x) {
    const V half = M::set(0.5f);
    return M::fma(half, math::erf<M>(x * M::constant(0.70710678118654752440)), half);
  }
  TENON_INLINE V value(V x) { return x * distribution(x); }
  TENON_INLINE V gradient(V g, V x) {
    const V density = M::constant(0.39894228040143267794) * math::exp<M>(M::set(-0.5f) * x * x);
    return g * M::fma(x, density, distribution(x));
  }
};
template <class M>
struct Silu {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return x * math::sigmoid<M>(x); }
  TENON_INLINE V gradient(V g, V x) {
    const V one = M::set(1.f), s = math::sigmoid<M>(x);
    return g * (s * M::fma(x, one - s, one));
  }
};
template <class M>
struct Sigmoid {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return math::sigmoid<M>(x); }
  TENON_INLINE V gradient(V g, V y) { return g * (y * (M::set(1.f) - y)); }
};
template <class M>
struct Tanh {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return math::tanh<M>(x); }
  TENON_INLINE V gradient(V g, V y) { return g * M::fma(-y, y, M::set(1.f)); }
};
template <class M>
struct Affine {
  using V = typename M::V;
  float alpha, beta;
  TENON_MEMBER V value(V x) const { return M::fma(M::set(alpha), x, M::set(beta)); }
  TENON_MEMBER V gradient(V g, V) const { return M::set(alpha) * g; }
};
template <class M>
struct Exp {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return math::exp<M>(x); }
  TENON_INLINE V gradient(V g, V y) { return g * y; }
};
template <class M>
struct Log {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return math::log<M>(x); }
  TENON_INLINE V gradient(V g, V x) { return g / x; }
};
template <class M>
struct Sqrt {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return M::sqrt(x); }
  TENON_INLINE V gradient(V g, V y) { return g / (y + y); }
};
template <class M>
struct Square {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return x * x; }
  TENON_INLINE V gradient(V g, V x) { return g * (x + x); }
};
template <class M>
struct Abs {
  using V = typename M::V;
  TENON_INLINE V value(V x) { return M::abs(x); }
  TENON_INLINE V gradient(V g, V x) {
    const V zero = M::set(0.f);  // what is neither above nor below is 0 or NaN: x itself
    return M::select(M::gt(x, zero), g, M::select(M::lt(x, zero), -g, x));
  }
};

/// visit(functor) with the functor of `fn`.
template <class M, class Visitor>
TENON_HD inline void with_unary(op::UnaryFn fn, float alpha, float beta, const Visitor& visit) {
  switch (fn) {
    case op::UnaryFn::identity:
      return visit(Identity<M>{});
    case op::UnaryFn::relu:
      return visit(Relu<M>{});
    case op::UnaryFn::leaky_relu:
      return visit(LeakyRelu<M>{alpha});
    case op::UnaryFn::elu:
      return visit(Elu<M>{alpha});
    case op::UnaryFn::gelu:
      return visit(Gelu<M>{});
    case op::UnaryFn::silu:
      return visit(Silu<M>{});
    case op::UnaryFn::sigmoid:
      return visit(Sigmoid<M>{});
    case op::UnaryFn::tanh:
      return visit(Tanh<M>{});
    case op::UnaryFn::affine:
      return visit(Affine<M>{alpha, beta});
    case op::UnaryFn::exp:
      return visit(Exp<M>{});
    case op::UnaryFn::log:
      return visit(Log<M>{});
    case op::UnaryFn::sqrt:
      return visit(Sqrt<M>{});
    case op::UnaryFn::square:
      return visit(Square<M>{});
    case op::UnaryFn::abs:
      return visit(Abs<M>{});
  }
}

template <class M>
struct Add {
  TENON_INLINE typename M::V value(typename M::V a, typename M::V b) { return a + b; }
};
template <class M>
struct Sub {
  TENON_INLINE typename M::V value(typename M::V a, typename M::V b) { return a - b; }
};
template <class M>
struct Mul {
  TENON_INLINE typename M::V value(typename M::V a, typename M::V b) { return a * b; }
};
template <class M>
struct Div {
  TENON_INLINE typename M::V value(typename M::V a, typename M::V b) { return a / b; }
};

/// visit(functor) with the functor of `fn`.
template <class M, class Visitor>
TENON_HD inline void with_binary(op::BinaryFn fn, const Visitor& visit) {
  switch (fn) {
    case op::BinaryFn::add:
      return visit(Add<M>{});
    case op::BinaryFn::sub:
      return visit(Sub<M>{});
    case op::BinaryFn::mul:
      return visit(Mul<M>{});
    case op::BinaryFn::div:
      return visit(Div<M>{});
  }
}

}  // namespace
}  // namespace tenon::pointwise
