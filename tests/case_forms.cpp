// Operands of each operation in the order that op.hpp gives.
#include "tests/case_forms.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/ops/visit.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon::tests::form {
namespace {

constexpr Fill uniform{};
constexpr Fill saved{.kind = Fill::Kind::saved};
constexpr Fill wide{.low = -3, .high = 3};
constexpr Fill positive{.low = 0.05, .high = 1.5};
constexpr Fill clip_scale{.low = 0.1, .high = 1};
constexpr Fill unit{.low = 0.02, .high = 0.98};
constexpr Fill target{.low = 0, .high = 1, .constant = true};
constexpr Fill distribution{.kind = Fill::Kind::distribution, .constant = true};
Fill labels(int64_t bound) { return {.kind = Fill::Kind::labels, .bound = bound}; }

TensorSpec f32(const Shape& s) { return {DType::f32, s}; }

std::string str(const op::Pad& p) { return fmt::format("({},{},{},{})", p.top, p.bottom, p.left, p.right); }
std::string str(const op::Epilogue& e) {
  std::string text;
  if (e.bias) text += " bias";
  if (e.activation != op::UnaryFn::identity) text += fmt::format(" {}", op::name_of(e.activation));
  if (e.pool) text += " pool";
  if (e.dropout > 0) text += fmt::format(" dropout {} site {}", e.dropout, e.site);
  return text;
}

/// What the extents do not say.
struct Attributes {
  std::string operator()(const op::Conv2d& o) const {
    return fmt::format(" stride ({},{}) dilation ({},{}) pad {} groups {}{}", o.stride.h, o.stride.w, o.dilation.h,
                       o.dilation.w, str(o.pad), o.groups, str(o.epilogue));
  }
  std::string operator()(const op::MatMul& o) const {
    return std::string(o.transpose_a ? " a transposed" : "") + (o.transpose_b ? " b transposed" : "") + str(o.epilogue);
  }
  std::string operator()(const op::Pool2d& o) const {
    return fmt::format(" {} window ({},{}) stride ({},{}) pad {}", o.fn == op::PoolFn::max ? "max" : "mean", o.window.h,
                       o.window.w, o.stride.h, o.stride.w, str(o.pad));
  }
  std::string operator()(const op::Unary& o) const {
    return fmt::format(" {} alpha {} beta {}", op::name_of(o.fn), o.alpha, o.beta);
  }
  std::string operator()(const op::Reduce& o) const {
    return fmt::format(" fn {} axes [{},{}){}", static_cast<int>(o.fn), o.axis, o.axis + o.count,
                       o.keepdims ? " kept" : "");
  }
  std::string operator()(const op::Slice& o) const {
    return fmt::format(" axis {} [{},{})", o.axis, o.begin, o.begin + o.length);
  }
  std::string operator()(const op::Concat& o) const { return fmt::format(" axis {}", o.axis); }
  std::string operator()(const op::Transpose& o) const { return fmt::format(" ({})", fmt::join(o.perm, ",")); }
  std::string operator()(const op::Dropout& o) const { return fmt::format(" {} site {}", o.rate, o.site); }
  std::string operator()(const op::PointwiseChain& o) const {
    std::string text;
    for (std::int32_t k = 0; k < o.count; ++k) {
      const op::PointwiseChain::Instruction& i = o.code[k];
      text += fmt::format(" {}({},{};{},{})", op::name_of(op::op_of(i)), i.a, i.b, i.alpha, i.beta);
    }
    return text;
  }
  std::string operator()(const op::Binary&) const { return ""; }  // its function is its name
  std::string operator()(const op::CustomOp&) const { return ""; }

// The members that name the attributes of all others, so that two cases with different ones never share a name.
#define TENON_ATTRIBUTES(X)                                                                                         \
  X(forward)                                                                                                        \
  X(kernel)                                                                                                         \
  X(h) X(w) X(extent) X(shape) X(rows) X(ids_rank) X(rate) X(log) X(common) X(momentum) X(nesterov) X(rho) X(beta1) \
      X(beta2) X(decoupled) X(epsilon) X(epsilon_inside) X(scale) X(max_norm)
#define TENON_HAS(member) \
  || requires { o.member; }
#define TENON_NAME(member) \
  if constexpr (requires { o.member; }) text += named(#member, o.member);
  std::string operator()(const auto& o) const {
    static_assert(std::is_empty_v<std::decay_t<decltype(o)>> TENON_ATTRIBUTES(TENON_HAS),
                  "an attribute is missing in TENON_ATTRIBUTES");
    std::string text;
    TENON_ATTRIBUTES(TENON_NAME)
    return text;
  }
#undef TENON_ATTRIBUTES
#undef TENON_HAS
#undef TENON_NAME

 private:
  template <class T>
  [[nodiscard]] std::string named(const char* name, const T& value) const {
    if constexpr (std::is_arithmetic_v<T>)
      return fmt::format(" {} {}", name, value);
    else
      return (*this)(value);  // another operation, or one of the structs below
  }
  std::string operator()(const Hw& s) const { return fmt::format(" ({},{})", s.h, s.w); }
  std::string operator()(const Shape& s) const { return " " + s.str(); }
  std::string operator()(const op::UpdateCommon& o) const {
    return fmt::format(" lr_scale {} decay {} clipped {}", o.lr_scale, o.weight_decay, o.clipped);
  }
};

Case make(const op::AnyOp& any, std::vector<TensorSpec> in, std::vector<Fill> fill) {
  std::string name(op::name_of(any));
  for (const TensorSpec& s : in) name += " " + s.str();
  name += std::visit(Attributes{}, any);
  return {name, any, std::move(in), std::move(fill)};
}

/// gy, the other operand, and the mask or y, of a gradient of an op with an epilogue.
template <class Gradient, class Forward>
Case with_epilogue(const Gradient& g, const Forward& f, const std::vector<TensorSpec>& forward_in, std::size_t other) {
  std::vector<TensorSpec> in = forward_in;
  if (f.epilogue.bias) in.push_back(f32({in[1].shape[-1]}));
  if constexpr (requires { f.transpose_b; }) {
    if (f.epilogue.bias && f.transpose_b) in[2] = f32({in[1].shape[0]});
  }
  const SpecList out = infer_node(f, in);
  std::vector<TensorSpec> operands{out[0], in[other]};
  std::vector<Fill> fill{uniform, uniform};
  if (f.epilogue.gradient_reads_saved()) {
    operands.push_back(out[f.epilogue.saves_mask() ? 1 : 0]);
    fill.push_back(saved);
  }
  return make(g, operands, fill);
}

Shape matrix(bool transpose, int64_t rows, int64_t columns) {
  return transpose ? Shape{columns, rows} : Shape{rows, columns};
}
std::vector<TensorSpec> factors(const op::MatMul& o, int64_t m, int64_t n, int64_t k) {
  return {f32(matrix(o.transpose_a, m, k)), f32(matrix(o.transpose_b, k, n))};
}

Fill domain(op::UnaryFn fn) {
  return fn == op::UnaryFn::log || fn == op::UnaryFn::sqrt ? Fill{.low = 0.1, .high = 2} : wide;
}

/// Parameter, gradient, states (second moments are positive), clip scale; or the operands of what is no optimizer's rule.
struct UpdateOperands {
  using Fills = std::vector<Fill>;
  Fills operator()(const op::SgdUpdate& o) const { return with_states(o.common, o.momentum != 0.f ? 1 : 0); }
  Fills operator()(const op::AdadeltaUpdate& o) const { return with_states(o.common, 2); }
  Fills operator()(const op::AdagradUpdate& o) const { return with_states(o.common, 1); }
  Fills operator()(const op::RmspropUpdate& o) const { return with_states(o.common, o.momentum != 0.f ? 2 : 1); }
  Fills operator()(const op::AdamUpdate& o) const { return with_states(o.common, 2); }
  Fills operator()(const one_of<op::AccumulateGrad, op::AssignEma> auto&) const { return {uniform, uniform}; }
  Fills operator()(const one_of<op::ClipNorm, op::CheckFinite, op::UnscaleGrad> auto&) const { return {uniform}; }

 private:
  static Fills with_states(const op::UpdateCommon& common, std::size_t states) {
    Fills fill{uniform, uniform};
    fill.resize(2 + states, positive);
    if (common.clipped) fill.push_back(clip_scale);
    return fill;
  }
};

std::pair<TensorSpec, Fill> class_target(int64_t n, int64_t c, DType dtype) {
  if (dtype == DType::f32) return {f32({n, c}), distribution};
  return {{dtype, {n}}, labels(dtype == DType::u8 ? std::min<int64_t>(c, 256) : c)};
}

}  // namespace

Case conv2d(const op::Conv2d& o, const Shape& x, const Shape& filter) {
  std::vector<TensorSpec> in{f32(x), f32(filter)};
  if (o.epilogue.bias) in.push_back(f32({filter[3]}));
  const std::size_t count = in.size();
  return make(o, std::move(in), std::vector<Fill>(count, uniform));
}
Case conv2d_grad_input(const op::Conv2d& o, const Shape& x, const Shape& filter) {
  return with_epilogue(op::Conv2dGradInput{o, static_cast<std::int32_t>(x[1]), static_cast<std::int32_t>(x[2])}, o,
                       {f32(x), f32(filter)}, 1);
}
Case conv2d_grad_filter(const op::Conv2d& o, const Shape& x, const Shape& filter) {
  const Hw kernel{static_cast<std::int32_t>(filter[0]), static_cast<std::int32_t>(filter[1])};
  return with_epilogue(op::Conv2dGradFilter{o, kernel}, o, {f32(x), f32(filter)}, 0);
}

Case matmul(const op::MatMul& o, int64_t m, int64_t n, int64_t k) {
  std::vector<TensorSpec> in = factors(o, m, n, k);
  if (o.epilogue.bias) in.push_back(f32({n}));
  const std::size_t count = in.size();
  return make(o, std::move(in), std::vector<Fill>(count, uniform));
}
Case matmul_grad_a(const op::MatMul& o, int64_t m, int64_t n, int64_t k) {
  return with_epilogue(op::MatMulGradA{o}, o, factors(o, m, n, k), 1);
}
Case matmul_grad_b(const op::MatMul& o, int64_t m, int64_t n, int64_t k) {
  return with_epilogue(op::MatMulGradB{o}, o, factors(o, m, n, k), 0);
}

Case pool2d(const op::Pool2d& o, const Shape& x) { return make(o, {f32(x)}, {uniform}); }
Case pool2d_grad(const op::Pool2d& o, const Shape& x) {
  const std::vector<TensorSpec> in{f32(x)};
  SpecList out = infer_node(o, in);
  std::vector<Fill> fill{uniform};
  if (out.size() > 1) fill.push_back(saved);
  return make(op::Pool2dGrad{o, static_cast<std::int32_t>(x[1]), static_cast<std::int32_t>(x[2])}, std::move(out),
              fill);
}

Case unary(const op::Unary& o, const Shape& x) { return make(o, {f32(x)}, {domain(o.fn)}); }
Case unary_grad(const op::Unary& o, const Shape& x) {
  return make(op::UnaryGrad{o}, {f32(x), f32(x)}, {uniform, saved});
}
Case binary(op::BinaryFn fn, const Shape& a, const Shape& b) {
  return make(op::Binary{fn}, {f32(a), f32(b)},
              {uniform, fn == op::BinaryFn::div ? Fill{.low = 0.3, .high = 2} : uniform});
}
Case pointwise_chain(const op::PointwiseChain& chain, const std::vector<Shape>& operands) {
  std::vector<TensorSpec> in;
  for (const Shape& s : operands) in.push_back(f32(s));
  return make(chain, in, std::vector<Fill>(in.size(), uniform));
}
Case bias_add(const Shape& x) { return make(op::BiasAdd{}, {f32(x), f32({x[-1]})}, {uniform, uniform}); }
Case bias_grad(const Shape& x) { return make(op::BiasGrad{}, {f32(x)}, {uniform}); }

Case softmax(bool log, const Shape& x) { return make(op::Softmax{log}, {f32(x)}, {wide}); }
Case softmax_grad(bool log, const Shape& x) { return make(op::SoftmaxGrad{log}, {f32(x), f32(x)}, {uniform, saved}); }
Case softmax_crossentropy(int64_t n, int64_t c, DType dtype) {
  const auto [spec, fill] = class_target(n, c, dtype);
  return make(op::SoftmaxCrossEntropy{}, {f32({n, c}), spec}, {wide, fill});
}
Case softmax_crossentropy_grad(int64_t n, int64_t c, DType dtype) {
  const auto [spec, fill] = class_target(n, c, dtype);
  return make(op::SoftmaxCrossEntropyGrad{}, {f32({n}), f32({n, c}), spec}, {uniform, saved, fill});
}
Case correct(int64_t n, int64_t c, DType dtype) {
  const auto [spec, fill] = class_target(n, c, dtype);
  return make(op::Correct{}, {f32({n, c}), spec}, {uniform, fill});
}
Case pair_loss(op::Kind kind, const Shape& s) {
  switch (kind) {
    case op::kind_of<op::SigmoidCrossEntropy>:
      return make(op::SigmoidCrossEntropy{}, {f32(s), f32(s)}, {wide, target});
    case op::kind_of<op::BinaryCrossEntropy>:
      return make(op::BinaryCrossEntropy{}, {f32(s), f32(s)}, {unit, target});
    case op::kind_of<op::SigmoidCrossEntropyGrad>:
      return make(op::SigmoidCrossEntropyGrad{}, {f32(s), f32(s), f32(s)}, {uniform, wide, target});
    default:
      return make(op::BinaryCrossEntropyGrad{}, {f32(s), f32(s), f32(s)}, {uniform, unit, target});
  }
}

Case dropout(float rate, std::int32_t site, const Shape& x) {
  return make(op::Dropout{rate, site}, {f32(x)}, {uniform});
}
Case dropout_grad(float rate, const Shape& x) {
  return make(op::DropoutGrad{rate}, {f32(x), {DType::u8, x}}, {uniform, saved});
}

Case transpose(const op::Transpose& o, const Shape& x) { return make(o, {f32(x)}, {uniform}); }
Case concat(std::int32_t axis, const std::vector<Shape>& parts) {
  std::vector<TensorSpec> in;
  for (const Shape& s : parts) in.push_back(f32(s));
  return make(op::Concat{axis}, std::move(in), std::vector<Fill>(parts.size(), uniform));
}
Case slice(const op::Slice& o, const Shape& x) { return make(o, {f32(x)}, {uniform}); }
Case slice_grad(const op::Slice& o, const Shape& x) {
  return make(op::SliceGrad{o, x[o.axis]}, {f32(x.with(o.axis, o.length))}, {uniform});
}
Case gather(const Shape& table, const Shape& ids) {
  return make(op::Gather{}, {f32(table), {DType::i32, ids}}, {uniform, labels(table[0])});
}
Case gather_grad(const Shape& table, const Shape& ids) {
  Shape gy = ids;
  for (int i = 1; i < table.rank(); ++i) gy.push_back(table[i]);
  return make(op::GatherGrad{table[0], ids.rank()}, {f32(gy), {DType::i32, ids}}, {uniform, labels(table[0])});
}
Case broadcast_to(const Shape& x, const Shape& y) { return make(op::BroadcastTo{y}, {f32(x)}, {uniform}); }
Case reduce(const op::Reduce& o, const Shape& x) { return make(o, {f32(x)}, {uniform}); }
Case reduce_select_grad(const op::Reduce& o, const Shape& x) {
  const std::vector<TensorSpec> in{f32(x)};
  const TensorSpec y = infer_node(o, in)[0];
  return make(op::ReduceSelectGrad{o}, {y, f32(x), y}, {uniform, uniform, saved});
}

Case update(const op::UpdateOp& rule, int64_t n) {
  const auto any = std::visit([](const auto& o) -> op::AnyOp { return o; }, rule);
  const auto fill = visit_op<std::vector<Fill>>(UpdateOperands{}, rule);
  std::vector<TensorSpec> in(fill.size(), f32({n}));
  if (std::holds_alternative<op::CheckFinite>(rule)) in[0] = f32({});
  if (fill.back() == clip_scale) in.back() = f32({1});
  return make(any, std::move(in), fill);
}

}  // namespace tenon::tests::form
