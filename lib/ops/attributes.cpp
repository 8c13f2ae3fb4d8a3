// One overload an operation, so that a new attribute struct does not compile before it says what it holds.
#include "lib/ops/attributes.hpp"

#include <fmt/format.h>

#include "lib/ops/visit.hpp"

namespace tenon {
namespace op {
namespace {

/// Words with spaces between them.
class Text {
 public:
  Text& flag(std::string_view name, bool set) { return set ? word(name) : *this; }
  template <class T>
  Text& value(const char* name, const T& v) {
    return word(fmt::format("{}={}", name, v));
  }
  Text& unless(const char* name, auto v, auto standard) { return v == standard ? *this : value(name, v); }
  Text& pair(const char* name, Hw v) {
    return v.h == 1 && v.w == 1 ? *this : word(fmt::format("{}={}x{}", name, v.h, v.w));
  }
  Text& pad(const Pad& p) {
    return p == Pad{} ? *this : word(fmt::format("pad={},{},{},{}", p.top, p.bottom, p.left, p.right));
  }
  Text& fn(UnaryFn f, float alpha, float beta) {
    return word(name_of(f)).unless("alpha", alpha, 0.f).unless("beta", beta, 0.f);
  }
  Text& epilogue(const Epilogue& e) {
    flag("bias", e.bias);
    if (e.activation != UnaryFn::identity) fn(e.activation, e.alpha, 0.f);
    return flag("pool", e.pool).unless("dropout", e.dropout, 0.f);
  }
  Text& common(const UpdateCommon& c) {
    return unless("lr_scale", c.lr_scale, 1.f).unless("decay", c.weight_decay, 0.f).flag("clipped", c.clipped);
  }
  operator std::string() { return std::move(text_); }  // NOLINT: what it is for

 private:
  Text& word(std::string_view w) {
    text_ += text_.empty() ? "" : " ";
    text_ += w;
    return *this;
  }
  std::string text_;
};

// Extents that an attribute repeats from the specs (shape, h and w, kernel, extent, rows) are left out.
struct Describe {
  using S = std::string;
  template <class T>
  requires std::is_empty_v<T> S operator()(const T&) const { return {}; }
  S operator()(const Conv2d& o) const {
    return Text()
        .pair("stride", o.stride)
        .pair("dilation", o.dilation)
        .pad(o.pad)
        .unless("groups", o.groups, 1)
        .epilogue(o.epilogue);
  }
  S operator()(const MatMul& o) const {
    return Text().flag("transpose_a", o.transpose_a).flag("transpose_b", o.transpose_b).epilogue(o.epilogue);
  }
  S operator()(const Pool2d& o) const {
    return Text()
        .flag(o.fn == PoolFn::max ? "max" : "avg", true)
        .value("window", fmt::format("{}x{}", o.window.h, o.window.w))
        .value("stride", fmt::format("{}x{}", o.stride.h, o.stride.w))
        .pad(o.pad);
  }
  S operator()(const Unary& o) const { return Text().fn(o.fn, o.alpha, o.beta); }
  S operator()(const Binary& o) const { return Text().flag(name_of(AnyOp(o)), true); }
  S operator()(const Softmax& o) const { return Text().flag("log", o.log); }
  S operator()(const BinaryCrossEntropy& o) const { return Text().value("epsilon", o.epsilon); }
  S operator()(const Dropout& o) const { return Text().value("rate", o.rate); }
  S operator()(const Reshape&) const { return {}; }
  S operator()(const Transpose& o) const { return Text().value("perm", fmt::format("{}", fmt::join(o.perm, ","))); }
  S operator()(const Concat& o) const { return Text().value("axis", o.axis); }
  S operator()(const Slice& o) const { return Text().value("axis", o.axis).value("begin", o.begin); }
  S operator()(const Reduce& o) const {
    return Text()
        .flag(name_of(AnyOp(o)), true)
        .value("axis", o.axis)
        .value("count", o.count)
        .flag("keepdims", o.keepdims);
  }
  S operator()(const BroadcastTo&) const { return {}; }
  S operator()(const CustomOp& o) const { return S(name_of(AnyOp(o))); }
  S operator()(const Conv2dGradInput& o) const { return (*this)(o.forward); }
  S operator()(const Conv2dGradFilter& o) const { return (*this)(o.forward); }
  S operator()(const MatMulGradA& o) const { return (*this)(o.forward); }
  S operator()(const MatMulGradB& o) const { return (*this)(o.forward); }
  S operator()(const Pool2dGrad& o) const { return (*this)(o.forward); }
  S operator()(const UnaryGrad& o) const { return (*this)(o.forward); }
  S operator()(const SoftmaxGrad& o) const { return Text().flag("log", o.log); }
  S operator()(const BinaryCrossEntropyGrad& o) const { return Text().value("epsilon", o.epsilon); }
  S operator()(const DropoutGrad& o) const { return Text().value("rate", o.rate); }
  S operator()(const SliceGrad& o) const { return (*this)(o.forward); }
  S operator()(const GatherGrad& o) const { return Text().value("ids_rank", o.ids_rank); }
  S operator()(const ReduceSelectGrad& o) const { return (*this)(o.forward); }
  S operator()(const PointwiseChain& o) const {
    Text t;
    for (std::int32_t k = 0; k < o.count; ++k) {
      const PointwiseChain::Instruction& i = o.code[k];
      const char* form = i.form == PointwiseChain::Form::unary_grad ? "grad " : "";
      const S operands = i.arity() == 1 ? fmt::format("{}", i.a) : fmt::format("{},{}", i.a, i.b);
      const S numbers = i.alpha == 0.f && i.beta == 0.f ? "" : fmt::format(";{},{}", i.alpha, i.beta);
      t.flag(fmt::format("{}{}({}{})", form, name_of(op_of(i)), operands, numbers), true);
    }
    return t;
  }
  S operator()(const SgdUpdate& o) const {
    return Text().common(o.common).unless("momentum", o.momentum, 0.f).flag("nesterov", o.nesterov);
  }
  S operator()(const AdadeltaUpdate& o) const {
    return Text().common(o.common).value("rho", o.rho).value("epsilon", o.epsilon);
  }
  S operator()(const AdagradUpdate& o) const { return Text().common(o.common).value("epsilon", o.epsilon); }
  S operator()(const RmspropUpdate& o) const {
    return Text()
        .common(o.common)
        .value("rho", o.rho)
        .unless("momentum", o.momentum, 0.f)
        .value("epsilon", o.epsilon)
        .flag("outside", !o.epsilon_inside);
  }
  S operator()(const AdamUpdate& o) const {
    return Text()
        .common(o.common)
        .value("beta1", o.beta1)
        .value("beta2", o.beta2)
        .value("epsilon", o.epsilon)
        .flag("decoupled", o.decoupled);
  }
  S operator()(const AccumulateGrad& o) const { return Text().value("scale", o.scale); }
  S operator()(const ClipNorm& o) const { return Text().value("max_norm", o.max_norm); }
  S operator()(const UnscaleGrad& o) const { return Text().value("scale", o.scale); }
  S operator()(const AssignEma& o) const { return Text().value("momentum", o.momentum); }
};

}  // namespace

std::string attributes_of(const AnyOp& any) { return visit_op<std::string>(Describe{}, any); }

}  // namespace op

std::string text_of(const Problem& p, const op::AnyOp& any) {
  const std::string attributes = op::attributes_of(any);
  return attributes.empty() ? p.str() : fmt::format("{} {{{}}}", p.str(), attributes);
}

}  // namespace tenon
