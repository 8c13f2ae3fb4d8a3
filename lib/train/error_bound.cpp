// Error bounds of the f32 kernels against f64, for sums in any order (u = 2^-24):
//
//   sums of K terms   3 (sqrt(K) + 2) u S, S = the same sum over absolute values. Rounding errors of a sum behave
//                     like a random walk (Higham and Mary 2019; Ipsen and Zhou, arXiv:1906.10465), hence sqrt(K).
//   pointwise         24 u |y|, with |y| replaced by the largest intermediate where the formula subtracts
//   softmax           4 u p (|x - m| + log2 n + 5); its logarithm and the losses the same, absolute
//   moves, max, min   exact
//   contractions in bf16   (2^-7 + 2^-16) S more: a bf16 has 8 bits of significand, so that rounding changes each operand
//                     by 2^-8 at most, relative; dz of a gradient after its epilogue is undone. Not the bias gradient,
//                     which sums in fp32.
//   contractions in tf32   (2^-10 + 2^-22) S more, on tensor cores: a tf32 has 11 bits
//   contractions in fp16   as in tf32, and (2^-25 + 2^-36) times the sum of |a| + |b| over the terms: below 2^-14 an fp16 has
//                     fewer bits, and its rounding is absolute. Operands beyond 65504 become infinite.
//   the user's        8 (sqrt(K) + 2) u times the largest result, K inputs an output
//   conv2d by Winograd   3 (sqrt(C) + 10) u S, C channels, S = the transformed sum over absolute values where the
//                     convolution may be computed by F(4x4, 3x3) (error_bound_winograd.cpp)
//
// Here: contractions, pointwise operations, updates, and which bound an operation has. The softmax family is in
// error_bound_rows.cpp.
#include "lib/train/error_bound.hpp"

#include <algorithm>
#include <cmath>

#include "lib/ops/visit.hpp"
#include "tenon/custom_op.hpp"
#include "tenon/rules.hpp"

namespace tenon::bound {
namespace {

/// How much an activation stretches an error of its operand, and what it adds itself.
double stretch(op::UnaryFn fn, float alpha, double y) {
  switch (fn) {
    case op::UnaryFn::gelu:
    case op::UnaryFn::silu:
      return 1.2;
    case op::UnaryFn::leaky_relu:
    case op::UnaryFn::elu:
      return std::max(1., std::abs(static_cast<double>(alpha)));
    case op::UnaryFn::affine:
      return std::abs(static_cast<double>(alpha));
    case op::UnaryFn::exp:
      return std::abs(y);
    default:
      return 1;
  }
}

/// What takes the place of the sum over absolute values where the convolution is transformed: with bias, through the pool.
Array transformed_sums(const Work& w, op::Conv2d c, const In& operands) {
  const bool pool = c.epilogue.pool;
  c.epilogue = {};
  const Shape full = w.run(c, {operands[0], operands[1]})[0].shape();
  const Array sums = winograd_sums(c, operands[0], operands[1], full);
  const std::int64_t filters = full[3], step = pool ? 2 : 1;
  const Shape& y = w.exact[0].shape();
  return map(w.exact[0], [&](std::size_t i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t k = at % filters, ox = at / filters % y[2], oy = at / filters / y[2] % y[1],
                       n = at / filters / y[2] / y[1];
    double largest = 0;
    for (std::int64_t r = 0; r < step; ++r)
      for (std::int64_t s = 0; s < step; ++s)
        largest = std::max(largest, sums.at(((n * full[1] + oy * step + r) * full[2] + ox * step + s) * filters + k));
    return largest + (operands.size() > 2 ? operands[2].at(k) : 0);
  });
}

/// The first output, where operand `at` is 1 all over.
Array with_ones(const Work& w, const op::AnyOp& any, In operands, std::size_t at) {
  operands[at] = map(operands[at], [](std::size_t) { return 1.; });
  return w.run(any, operands)[0];
}
Array added(const Array& x, const Array& y) {
  return map(x, [a = f64(x), b = f64(y)](std::size_t i) { return a[i] + b[i]; });
}
/// The sum of |a| + |b| over the terms of a contraction's first output; its operands are |a|, |b| and what it adds to the sum.
template <class Contraction>
Array sums_of_factors(const Work& w, const Contraction& c, const In& operands) {
  return added(with_ones(w, c, operands, 1), with_ones(w, c, operands, 0));
}
/// The same of a gradient, where a is the gradient after the activation is undone: it is rounded behind the slope, which may
/// have made it small, and so no slope makes its rounding smaller.
template <class Gradient>
Array sums_of_gradient_factors(const Work& w, Gradient o, In operands) {
  const Array of_dz = with_ones(w, o, operands, 1);
  if (!o.forward.epilogue.saves_mask() && o.forward.epilogue.gradient_reads_saved()) {
    o.forward.epilogue.activation = op::UnaryFn::identity;
    operands.resize(2);
  }
  return added(of_dz, with_ones(w, o, operands, 0));
}

/// conv2d and matmul: the sum over absolute values through bias and pool, then the activation and dropout's scale.
template <class Contraction>
std::vector<Array> contraction(const Work& w, Contraction c) {
  const op::Epilogue e = c.epilogue;
  c.epilogue.activation = op::UnaryFn::identity;
  c.epilogue.dropout = 0.f;
  const In operands = w.absolute_in();
  Array sum = w.run(c, operands)[0];
  double factor = w.sum_factor() + w.rounding();
  if constexpr (std::is_same_v<Contraction, op::Conv2d>) {
    if (w.arithmetic == Arithmetic::winograd && winograd_takes(c, w.in[1].shape())) {
      sum = transformed_sums(w, c, operands);
      factor = margin * (std::sqrt(static_cast<double>(w.in[0].shape()[3])) + 10) * u;
    }
  }
  const auto s = f64(sum), y = f64(w.exact[0]);
  Array factors(DType::f64, sum.shape());
  if (w.granularity() > 0) factors = sums_of_factors(w, c, operands);
  const auto f = f64(factors);
  const double scale = 1 / (1 - static_cast<double>(e.dropout));
  const double own = e.activation == op::UnaryFn::elu ? std::abs(static_cast<double>(e.alpha)) : 0;
  std::vector<Array> bounds{map(w.exact[0], [&](std::size_t i) {
    const double error = factor * s[i] + w.granularity() * f[i];
    return scale * (error * stretch(e.activation, e.alpha, y[i]) + 24 * u * own) + 24 * u * std::abs(y[i]) + floor_;
  })};
  if (e.saves_mask()) bounds.emplace_back();
  return bounds;
}

/// Gradients of contractions: linear in the gradient, whose gates come from the saved operand.
template <class Gradient>
std::vector<Array> contraction_gradient(const Work& w, const Gradient& o) {
  const op::Epilogue& e = o.forward.epilogue;
  In operands = w.absolute_in();
  // The activation's slope is read from y as it is; that of tanh, 1 - y^2, is bounded by 1.
  if (e.gradient_reads_saved() && !e.saves_mask())
    operands[2] = e.activation == op::UnaryFn::tanh ? Array(w.in[2].spec()) : w.in[2];
  std::vector<Array> bounds;
  for (const Array& s : w.run(w.any, operands))
    bounds.push_back(scaled(s, w.sum_factor() + (bounds.empty() ? w.rounding() : 0)));
  if (w.granularity() > 0) {
    const Array factors = sums_of_gradient_factors(w, o, operands);
    bounds[0] = map(bounds[0],
                    [&, b = f64(bounds[0]), f = f64(factors)](std::size_t i) { return b[i] + w.granularity() * f[i]; });
  }
  return bounds;
}

std::vector<Array> unary(const Work& w, const op::Unary& o) {
  const auto x = f64(w.in[0]), y = f64(w.exact[0]);
  const double alpha = std::abs(static_cast<double>(o.alpha)), beta = std::abs(static_cast<double>(o.beta));
  return {map(w.exact[0], [&](std::size_t i) {
    double size = std::abs(y[i]);
    if (o.fn == op::UnaryFn::affine) size = alpha * std::abs(x[i]) + beta;
    if (o.fn == op::UnaryFn::gelu || o.fn == op::UnaryFn::silu) size = std::abs(x[i]);
    return 24 * u * size + floor_;
  })};
}

std::vector<Array> unary_gradient(const Work& w, const op::Unary& o) {
  const auto g = f64(w.in[0]), y = f64(w.exact[0]);
  using enum op::UnaryFn;
  const bool subtracts = o.fn == gelu || o.fn == silu || o.fn == tanh || o.fn == sigmoid || o.fn == elu;
  return {map(w.exact[0], [&](std::size_t i) {
    return 24 * u * std::max(std::abs(y[i]), subtracts ? std::abs(g[i]) : 0.) + floor_;
  })};
}

std::vector<Array> pair_loss(const Work& w, bool gradient, bool logits) {
  const auto x = f64(w.in[gradient ? 1 : 0]), t = f64(w.in[gradient ? 2 : 1]);
  return {map(w.exact[0], [&](std::size_t i) {
    const double p = x[i], g = gradient ? std::abs(w.in[0].at(static_cast<std::int64_t>(i))) : 1;
    double size = 0;
    if (logits) size = gradient ? 1 + std::abs(t[i]) : std::abs(p) * (1 + std::abs(t[i])) + 1;
    // 1 - p rounds by u, which the logarithm and the quotient divide by 1 - p.
    else if (gradient)
      size = (p + std::abs(t[i])) / (p * (1 - p)) * (1 + 1 / (1 - p));
    else
      size = std::abs(t[i] * std::log(p)) + std::abs(1 - t[i]) * (std::abs(std::log1p(-p)) + 1 / (1 - p));
    return 24 * u * g * size + floor_;
  })};
}

/// Updates: what goes in and what comes out bound what is subtracted there; the gradient, with its decay, and the first
/// moment may cancel before that. Steps divide by the root of a second moment, which stretches by 6 at most where that is
/// 1/36 or more.
std::vector<Array> update(const Work& w, const op::UpdateCommon& common, int mean = 0) {
  const double lr = static_cast<double>(w.control.lr) * static_cast<double>(common.lr_scale);
  const double weight_decay = static_cast<double>(common.weight_decay);
  std::vector<Array> bounds;
  for (std::size_t o = 0; o < w.exact.size(); ++o) {
    const std::size_t source = o == 0 ? 0 : o + 1;
    bounds.push_back(map(w.exact[o], [&](std::size_t i) {
      const auto n = static_cast<std::int64_t>(i);
      const double before = std::abs(w.in[source].at(n)), after = std::abs(w.exact[o].at(n));
      const double g = std::abs(w.in[1].at(n)) + weight_decay * std::abs(w.in[0].at(n));
      const double m = mean > 0 ? std::abs(w.in[static_cast<std::size_t>(mean) + 1].at(n)) : 0;
      const double cancels = o == 0 ? 6 * lr * (g + m) : static_cast<int>(o) == mean ? 6 * g : 2 * g * g;
      return 24 * u * (before + after + cancels) + floor_;
    }));
  }
  return bounds;
}

/// A chain: what each instruction rounds, and how far the errors of its operands carry its result, seen by moving them
/// up and down.
std::vector<Array> chain(const Work& w, const op::PointwiseChain& c) {
  using Chain = op::PointwiseChain;
  std::vector<Array> value = w.in, error;
  value.resize(Chain::max_operands);
  for (const Array& a : value) error.push_back(a.empty() ? Array{} : Array(a.spec()));
  const auto moved = [&](std::size_t v, int by) {
    return map(value[v], [&, x = f64(value[v]), e = f64(error[v])](std::size_t i) { return x[i] + by * e[i]; });
  };
  for (std::int32_t k = 0; k < c.count; ++k) {
    const Chain::Instruction& x = c.code[k];
    const bool two = x.arity() == 2;
    const op::AnyOp any = op::op_of(x);
    const In at = two ? In{value[x.a], value[x.b]} : In{value[x.a]};
    const Array y = w.run(any, at)[0];
    const Array rounding = error_bounds(any, at, {y}, w.control)[0];
    Array reach(y.spec());
    for (int a = -1; a <= 1; ++a)
      for (int b = two ? -1 : 1; b <= 1; ++b) {
        const In near = two ? In{moved(x.a, a), moved(x.b, b)} : In{moved(x.a, a)};
        const Array there = w.run(any, near)[0];
        reach = map(y, [&](std::size_t i) { return std::max(f64(reach)[i], std::abs(f64(there)[i] - f64(y)[i])); });
      }
    // A little more, because the instruction rounds what has moved.
    error.push_back(map(
        y, [&](std::size_t i) { return (rounding.empty() ? 0 : f64(rounding)[i]) + 1.001 * f64(reach)[i] + floor_; }));
    value.push_back(y);
  }
  return {error.back()};
}

/// One overload an operation, and none for all others: an operation that is forgotten does not compile. Those that only
/// move elements are exact.
struct BoundOf {
  const Work& w;
  using Bounds = std::vector<Array>;

  [[nodiscard]] Bounds exact() const { return Bounds(w.exact.size()); }
  [[nodiscard]] Bounds sums() const { return w.sums(w.any, w.absolute_in()); }

  Bounds operator()(const op::Conv2d& o) const { return contraction(w, o); }
  Bounds operator()(const op::MatMul& o) const { return contraction(w, o); }
  Bounds operator()(const op::Conv2dGradInput& o) const { return contraction_gradient(w, o); }
  Bounds operator()(const op::Conv2dGradFilter& o) const { return contraction_gradient(w, o); }
  Bounds operator()(const op::MatMulGradA& o) const { return contraction_gradient(w, o); }
  Bounds operator()(const op::MatMulGradB& o) const { return contraction_gradient(w, o); }
  Bounds operator()(const op::BiasAdd&) const { return sums(); }
  Bounds operator()(const op::BiasGrad&) const { return sums(); }
  Bounds operator()(const op::Pool2d& o) const { return o.fn == op::PoolFn::max ? exact() : sums(); }
  Bounds operator()(const op::Pool2dGrad&) const { return sums(); }
  Bounds operator()(const op::Unary& o) const { return unary(w, o); }
  Bounds operator()(const op::UnaryGrad& o) const { return unary_gradient(w, o.forward); }
  Bounds operator()(const op::Binary& o) const {
    if (o.fn == op::BinaryFn::mul || o.fn == op::BinaryFn::div) return w.relative();
    return w.sums(op::Binary{op::BinaryFn::add}, w.absolute_in());
  }
  Bounds operator()(const op::Softmax& o) const { return {softmax(w.in[0], w.exact[0], o.log)}; }
  Bounds operator()(const op::SoftmaxGrad& o) const { return softmax_gradient(w, o.log); }
  Bounds operator()(const op::SoftmaxCrossEntropy&) const { return crossentropy(w); }
  Bounds operator()(const op::SoftmaxCrossEntropyGrad&) const { return crossentropy_gradient(w); }
  Bounds operator()(const op::SigmoidCrossEntropy&) const { return pair_loss(w, false, true); }
  Bounds operator()(const op::SigmoidCrossEntropyGrad&) const { return pair_loss(w, true, true); }
  Bounds operator()(const op::BinaryCrossEntropy&) const { return pair_loss(w, false, false); }
  Bounds operator()(const op::BinaryCrossEntropyGrad&) const { return pair_loss(w, true, false); }
  Bounds operator()(const op::Dropout&) const { return w.relative(); }
  Bounds operator()(const op::DropoutGrad&) const { return w.relative(); }
  Bounds operator()(const op::Reshape&) const { return exact(); }
  Bounds operator()(const op::Transpose&) const { return exact(); }
  Bounds operator()(const op::Concat&) const { return exact(); }
  Bounds operator()(const op::Slice&) const { return exact(); }
  Bounds operator()(const op::SliceGrad&) const { return exact(); }
  Bounds operator()(const op::Gather&) const { return exact(); }
  Bounds operator()(const op::GatherGrad&) const { return sums(); }
  Bounds operator()(const op::Reduce& o) const {
    return o.fn == op::ReduceFn::max || o.fn == op::ReduceFn::min ? exact() : sums();
  }
  Bounds operator()(const op::ReduceSelectGrad&) const { return exact(); }
  Bounds operator()(const op::PointwiseChain& o) const { return chain(w, o); }
  Bounds operator()(const op::BroadcastTo&) const { return exact(); }
  Bounds operator()(const op::Correct&) const { return exact(); }
  Bounds operator()(const op::CustomOp&) const {
    Bounds bounds;
    for (const Array& e : w.exact) {
      double largest = 0;
      for (const double v : f64(e)) largest = std::max(largest, std::abs(v));
      bounds.push_back(map(e, [&](std::size_t) { return w.sum_factor(custom_margin) * largest + floor_; }));
    }
    return bounds;
  }
  // The state that is a mean of gradients, where there is one.
  Bounds operator()(const op::SgdUpdate& o) const { return update(w, o.common, o.momentum != 0.f ? 1 : 0); }
  Bounds operator()(const op::AdadeltaUpdate& o) const { return update(w, o.common); }
  Bounds operator()(const op::AdagradUpdate& o) const { return update(w, o.common); }
  Bounds operator()(const op::RmspropUpdate& o) const { return update(w, o.common, o.momentum != 0.f ? 2 : 0); }
  Bounds operator()(const op::AdamUpdate& o) const { return update(w, o.common, 1); }
  Bounds operator()(const op::AccumulateGrad& o) const {
    const double scale = std::abs(static_cast<double>(o.scale));
    return {map(w.exact[0], [&](std::size_t i) {
      return 24 * u * (std::abs(f64(w.in[0])[i]) + scale * std::abs(f64(w.in[1])[i])) + floor_;
    })};
  }
  Bounds operator()(const op::ClipNorm&) const { return w.relative(w.sum_factor()); }
  Bounds operator()(const op::AssignEma&) const {
    return {map(w.exact[0], [&](std::size_t i) {
      return 24 * u * (std::abs(f64(w.in[0])[i]) + std::abs(f64(w.in[1])[i])) + floor_;
    })};
  }
  Bounds operator()(const op::CheckFinite&) const { return exact(); }
  Bounds operator()(const op::UnscaleGrad&) const { return w.relative(); }
};

/// Terms of the sums, one overload an operation here as well.
struct LengthOf {
  const std::vector<TensorSpec>&in, &out;
  double operator()(const op::Conv2d&) const { return static_cast<double>(in[1].shape.product(0, 3)); }
  double operator()(const op::MatMul& o) const { return static_cast<double>(in[0].shape[o.transpose_a ? 0 : 1]); }
  double operator()(const op::Conv2dGradInput& o) const {
    const Shape& f = in[1].shape;
    return static_cast<double>(f[0] * f[1] * f[3] / o.forward.groups);
  }
  double operator()(const op::Conv2dGradFilter& o) const {
    return static_cast<double>(in[0].shape.product(0, 3) * (o.forward.epilogue.pool ? 4 : 1));
  }
  double operator()(const op::MatMulGradA&) const { return static_cast<double>(in[0].shape[1]); }
  double operator()(const op::MatMulGradB&) const { return static_cast<double>(in[0].shape[0]); }
  double operator()(const op::BiasGrad&) const { return ratio(0); }
  double operator()(const op::Pool2d& o) const { return static_cast<double>(o.window.h) * o.window.w; }
  double operator()(const op::Pool2dGrad& o) const {
    return static_cast<double>(o.forward.window.h) * o.forward.window.w;
  }
  double operator()(const op::Reduce&) const { return ratio(0); }
  double operator()(const op::Softmax&) const { return static_cast<double>(in[0].shape[-1]); }
  double operator()(const op::SoftmaxGrad&) const { return static_cast<double>(in[0].shape[-1]); }
  double operator()(const op::SoftmaxCrossEntropy&) const { return static_cast<double>(in[0].shape[1]); }
  double operator()(const op::SoftmaxCrossEntropyGrad&) const { return static_cast<double>(in[1].shape[1]); }
  double operator()(const op::GatherGrad&) const { return static_cast<double>(in[1].shape.elements()); }
  double operator()(const op::ClipNorm&) const { return ratio(0); }
  double operator()(const op::CustomOp&) const { return ratio(0); }
  double operator()(
      const one_of<op::BiasAdd, op::Unary, op::UnaryGrad, op::Binary, op::PointwiseChain, op::SigmoidCrossEntropy,
                   op::SigmoidCrossEntropyGrad, op::BinaryCrossEntropy, op::BinaryCrossEntropyGrad, op::Dropout,
                   op::DropoutGrad, op::Reshape, op::Transpose, op::Concat, op::Slice, op::SliceGrad, op::Gather,
                   op::ReduceSelectGrad, op::BroadcastTo, op::Correct, op::SgdUpdate, op::AdadeltaUpdate,
                   op::AdagradUpdate, op::RmspropUpdate, op::AdamUpdate, op::AccumulateGrad, op::AssignEma,
                   op::CheckFinite, op::UnscaleGrad> auto&) const {
    return 1;
  }

  [[nodiscard]] double ratio(std::size_t i) const {
    const double outputs = out.empty() ? 1. : static_cast<double>(out[0].shape.elements());
    return std::max(1., static_cast<double>(in[i].shape.elements()) / std::max(1., outputs));
  }
};

}  // namespace
}  // namespace tenon::bound

namespace tenon {

double reduction_length(const op::AnyOp& any, const std::vector<TensorSpec>& in, const std::vector<TensorSpec>& out) {
  return visit_op<double>(bound::LengthOf{in, out}, any);
}

std::vector<Array> error_bounds(const op::AnyOp& any, const std::vector<Array>& in, const std::vector<Array>& exact,
                                const Control& control, Arithmetic arithmetic) {
  const bound::Work w{any, in, exact, control, reduction_length(any, specs_of(in), specs_of(exact)), arithmetic};
  return visit_op<std::vector<Array>>(bound::BoundOf{w}, any);
}

}  // namespace tenon
