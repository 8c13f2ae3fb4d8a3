// Pointwise operations: one unary family, one binary family with NumPy broadcasting, dropout.
#include <algorithm>

#include "lib/ops/check.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {
namespace {

/// Operations an element, for the cost model: polynomials count as their FMAs.
double flops_of(UnaryFn fn) {
  switch (fn) {
    case UnaryFn::identity:
    case UnaryFn::relu:
    case UnaryFn::abs:
      return 1;
    case UnaryFn::leaky_relu:
    case UnaryFn::affine:
    case UnaryFn::square:
      return 2;
    case UnaryFn::sqrt:
      return 4;
    default:
      return 20;
  }
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const std::int64_t ea = ia < 0 ? 1 : a[ia], eb = ib < 0 ? 1 : b[ib];
    if (ea != eb && ea != 1 && eb != 1) reject(Binary::name, "shapes {} and {} do not broadcast", a.str(), b.str());
    out.push_back(ea == 1 ? eb : ea);
  }
  return out;
}

}  // namespace

SpecList infer(const Unary& u, Specs in) {
  require_operands(name_of(u.fn), in, 1);
  require_float(name_of(u.fn), "operand", in[0]);
  // The gradient reads the sign of y, which is that of x only then.
  if ((u.fn == UnaryFn::leaky_relu || u.fn == UnaryFn::elu) && !(u.alpha >= 0.f))
    reject(name_of(u.fn), "slope expects 0 or more, found {}", u.alpha);
  return {in[0]};
}
void vjp(const Unary& u, Vjp& v) {
  if (u.fn == UnaryFn::identity) return v.accumulate(0, v.grad());
  if (u.fn == UnaryFn::affine) return v.accumulate(0, v.emit(Unary{UnaryFn::affine, u.alpha, 0.f}, {v.grad()}));
  v.accumulate(0, v.emit(UnaryGrad{u}, {v.grad(), unary_gradient_reads_output(u.fn) ? v.output() : v.input(0)}));
}
Cost cost(const Unary& u, Specs in, Specs out) { return per_element(flops_of(u.fn), in, out); }

SpecList infer(const UnaryGrad&, Specs in) {
  require_operands(UnaryGrad::name, in, 2);
  require_same(UnaryGrad::name, "saved value", in[1], in[0]);
  return {in[0]};
}
Cost cost(const UnaryGrad& g, Specs in, Specs out) { return per_element(1 + flops_of(g.forward.fn), in, out); }

SpecList infer(const Binary&, Specs in) {
  require_operands(Binary::name, in, 2);
  require_float(Binary::name, "operand", in[0]);
  require_same_dtype(Binary::name, in[0], in[1]);
  return {{in[0].dtype, broadcast(in[0].shape, in[1].shape)}};
}
void vjp(const Binary& b, Vjp& v) {
  Graph& g = v.graph();
  const ValueId gy = v.grad(), x = v.input(0), y = v.input(1);
  const Shape xs = v.spec(x).shape, ys = v.spec(y).shape;
  const auto binary = [&](BinaryFn fn, ValueId p, ValueId q) { return v.emit(Binary{fn}, {p, q}); };
  const auto negated = [&](ValueId p) { return v.emit(Unary{UnaryFn::affine, -1.f, 0.f}, {p}); };
  if (v.wants(0)) {
    ValueId gx = gy;
    if (b.fn == BinaryFn::mul) gx = binary(BinaryFn::mul, gy, y);
    if (b.fn == BinaryFn::div) gx = binary(BinaryFn::div, gy, y);
    v.accumulate(0, reduce_to_shape(g, gx, xs));
  }
  if (v.wants(1)) {
    ValueId gb = gy;
    if (b.fn == BinaryFn::mul) gb = binary(BinaryFn::mul, gy, x);
    // d(x/y)/dy = -(x/y)/y: the quotient is at hand.
    if (b.fn == BinaryFn::div) gb = binary(BinaryFn::div, binary(BinaryFn::mul, gy, v.output()), y);
    if (b.fn == BinaryFn::sub || b.fn == BinaryFn::div) gb = negated(gb);
    v.accumulate(1, reduce_to_shape(g, gb, ys));
  }
}
Cost cost(const Binary&, Specs in, Specs out) { return per_element(1, in, out); }

SpecList infer(const Dropout& d, Specs in) {
  require_operands(Dropout::name, in, 1);
  require_float(Dropout::name, "operand", in[0]);
  if (!(d.rate >= 0.f && d.rate < 1.f)) reject(Dropout::name, "rate expects to lie in [0,1), found {}", d.rate);
  return {in[0], {DType::u8, in[0].shape}};
}
void vjp(const Dropout& d, Vjp& v) { v.accumulate(0, v.emit(DropoutGrad{d.rate}, {v.grad(), v.output(1)})); }
Cost cost(const Dropout&, Specs in, Specs out) { return per_element(10, in, out); }

SpecList infer(const DropoutGrad&, Specs in) {
  require_operands(DropoutGrad::name, in, 2);
  require_same(DropoutGrad::name, "mask", in[1], {DType::u8, in[0].shape});
  return {in[0]};
}
Cost cost(const DropoutGrad&, Specs in, Specs out) { return per_element(1, in, out); }

}  // namespace tenon::op

namespace tenon {
namespace {

Tensor unary(op::UnaryFn fn, Tensor x, float alpha = 0.f, float beta = 0.f) {
  Graph& g = x.graph();
  return {&g, g.append1(op::Unary{fn, alpha, beta}, {x.id()})};
}
Tensor binary(op::BinaryFn fn, Tensor a, Tensor b) {
  Graph& g = graph_of(op::Binary::name, a, b);
  return {&g, g.append1(op::Binary{fn}, {a.id(), b.id()})};
}

struct NamedActivation {
  const char* name;
  Activation::Kind kind;
};
constexpr NamedActivation activations[] = {{"linear", Activation::Kind::linear},
                                           {"relu", Activation::Kind::relu},
                                           {"leaky_relu", Activation::Kind::leaky_relu},
                                           {"elu", Activation::Kind::elu},
                                           {"gelu", Activation::Kind::gelu},
                                           {"silu", Activation::Kind::silu},
                                           {"sigmoid", Activation::Kind::sigmoid},
                                           {"tanh", Activation::Kind::tanh},
                                           {"softmax", Activation::Kind::softmax},
                                           {"log_softmax", Activation::Kind::log_softmax}};

}  // namespace

Tensor add(Tensor a, Tensor b) { return binary(op::BinaryFn::add, a, b); }
Tensor sub(Tensor a, Tensor b) { return binary(op::BinaryFn::sub, a, b); }
Tensor mul(Tensor a, Tensor b) { return binary(op::BinaryFn::mul, a, b); }
Tensor div(Tensor a, Tensor b) { return binary(op::BinaryFn::div, a, b); }
Tensor affine(Tensor x, float scale, float shift) { return unary(op::UnaryFn::affine, x, scale, shift); }
Tensor exp(Tensor x) { return unary(op::UnaryFn::exp, x); }
Tensor log(Tensor x) { return unary(op::UnaryFn::log, x); }
Tensor sqrt(Tensor x) { return unary(op::UnaryFn::sqrt, x); }
Tensor square(Tensor x) { return unary(op::UnaryFn::square, x); }
Tensor abs(Tensor x) { return unary(op::UnaryFn::abs, x); }
Tensor operator/(Tensor a, float s) {
  // A division and not a product with 1/s: the two differ in the last bit.
  Array divisor = Array::scalar(s).to(a.dtype());
  return div(a, a.graph().constant(std::move(divisor)));
}

Tensor dropout(Tensor x, float rate) {
  Graph& g = x.graph();
  if (!(rate >= 0.f && rate < 1.f)) reject(op::Dropout::name, "rate expects to lie in [0,1), found {}", rate);
  const std::int32_t site = g.dropout_sites++;  // numbered in both modes, so that sites agree
  if (!g.training || rate == 0.f) return x;
  return {&g, g.append1(op::Dropout{rate, site}, {x.id()})};
}

Tensor Activation::operator()(Tensor x) const {
  Graph& g = x.graph();
  switch (kind_) {
    case Kind::linear:
      return x;
    case Kind::relu:
      return unary(op::UnaryFn::relu, x);
    case Kind::leaky_relu:
      return unary(op::UnaryFn::leaky_relu, x, alpha_);
    case Kind::elu:
      return unary(op::UnaryFn::elu, x, alpha_);
    case Kind::gelu:
      return unary(op::UnaryFn::gelu, x);
    case Kind::silu:
      return unary(op::UnaryFn::silu, x);
    case Kind::sigmoid:
      return unary(op::UnaryFn::sigmoid, x);
    case Kind::tanh:
      return unary(op::UnaryFn::tanh, x);
    case Kind::softmax:
      return {&g, g.append1(op::Softmax{false}, {x.id()})};
    case Kind::log_softmax:
      return {&g, g.append1(op::Softmax{true}, {x.id()})};
  }
  return x;
}

const char* Activation::name() const {
  for (const NamedActivation& a : activations)
    if (a.kind == kind_) return a.name;
  return "?";
}

Activation Activation::named(std::string_view name, float alpha) {
  std::string names;
  for (const NamedActivation& a : activations) {
    if (name == a.name) return {a.kind, alpha};
    names += names.empty() ? a.name : std::string(", ") + a.name;
  }
  reject("activation", "no '{}' among: {}", name, names);
}

}  // namespace tenon
