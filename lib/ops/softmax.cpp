// Softmax, its losses, the elementwise losses, and the accuracy count.
#include "lib/ops/check.hpp"
#include "tenon/losses.hpp"

namespace tenon::op {
namespace {

/// Target of row-wise classification: labels (n), or probabilities (n,c).
void require_target(std::string_view op, const TensorSpec& scores, const TensorSpec& target) {
  const bool labels =
      (target.dtype == DType::i32 || target.dtype == DType::u8) && target.shape == Shape{scores.shape[0]};
  if (!labels && target != scores)
    reject(op, "target expects integer labels ({}) or probabilities {}, found {}", scores.shape[0], scores.str(),
           target.str());
}

}  // namespace

SpecList infer(const Softmax&, Specs in) {
  require_operands(Softmax::name, in, 1);
  require_float(Softmax::name, "operand", in[0]);
  if (in[0].shape.rank() < 1) reject(Softmax::name, "operand expects at least one axis, found a scalar");
  return {in[0]};
}
void vjp(const Softmax& s, Vjp& v) { v.accumulate(0, v.emit(SoftmaxGrad{s.log}, {v.grad(), v.output()})); }
Cost cost(const Softmax&, Specs in, Specs out) { return per_element(25, in, out); }
SpecList infer(const SoftmaxGrad&, Specs in) {
  require_operands(SoftmaxGrad::name, in, 2);
  require_same(SoftmaxGrad::name, "saved value", in[1], in[0]);
  return {in[0]};
}
Cost cost(const SoftmaxGrad& g, Specs in, Specs out) { return per_element(g.log ? 25 : 4, in, out); }

SpecList infer(const SoftmaxCrossEntropy&, Specs in) {
  constexpr auto name = SoftmaxCrossEntropy::name;
  require_operands(name, in, 2);
  require_rank(name, "logits (n,c)", in[0], 2);
  require_float(name, "logits", in[0]);
  require_target(name, in[0], in[1]);
  return {{in[0].dtype, {in[0].shape[0]}}, in[0]};
}
void vjp(const SoftmaxCrossEntropy&, Vjp& v) {
  if (v.inputs() > 1 && v.wants(1) && is_float(v.spec(v.input(1)).dtype))
    reject(SoftmaxCrossEntropy::name, "has no gradient by its target: make the target an input or a constant");
  v.accumulate(0, v.emit(SoftmaxCrossEntropyGrad{}, {v.grad(), v.output(1), v.input(1)}));
}
Cost cost(const SoftmaxCrossEntropy&, Specs in, Specs out) {
  return {25 * static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}
SpecList infer(const SoftmaxCrossEntropyGrad&, Specs in) {
  constexpr auto name = SoftmaxCrossEntropyGrad::name;
  require_operands(name, in, 3);
  require_rank(name, "probabilities (n,c)", in[1], 2);
  require_same(name, "gradient", in[0], {in[1].dtype, {in[1].shape[0]}});
  require_target(name, in[1], in[2]);
  return {in[1]};
}
Cost cost(const SoftmaxCrossEntropyGrad&, Specs in, Specs out) { return per_element(2, in, out); }

namespace {
SpecList elementwise_loss(std::string_view name, Specs in) {
  require_operands(name, in, 2);
  require_float(name, "prediction", in[0]);
  require_same(name, "target", in[1], in[0]);
  return {in[0]};
}
SpecList elementwise_loss_grad(std::string_view name, Specs in) {
  require_operands(name, in, 3);
  require_same(name, "prediction", in[1], in[0]);
  require_same(name, "target", in[2], in[0]);
  return {in[0]};
}
void no_target_gradient(std::string_view name, const Vjp& v) {
  if (v.wants(1)) reject(name, "has no gradient by its target: make the target an input or a constant");
}
}  // namespace

SpecList infer(const SigmoidCrossEntropy&, Specs in) { return elementwise_loss(SigmoidCrossEntropy::name, in); }
void vjp(const SigmoidCrossEntropy&, Vjp& v) {
  no_target_gradient(SigmoidCrossEntropy::name, v);
  v.accumulate(0, v.emit(SigmoidCrossEntropyGrad{}, {v.grad(), v.input(0), v.input(1)}));
}
Cost cost(const SigmoidCrossEntropy&, Specs in, Specs out) { return per_element(45, in, out); }
SpecList infer(const SigmoidCrossEntropyGrad&, Specs in) {
  return elementwise_loss_grad(SigmoidCrossEntropyGrad::name, in);
}
Cost cost(const SigmoidCrossEntropyGrad&, Specs in, Specs out) { return per_element(25, in, out); }

SpecList infer(const BinaryCrossEntropy&, Specs in) { return elementwise_loss(BinaryCrossEntropy::name, in); }
void vjp(const BinaryCrossEntropy& b, Vjp& v) {
  no_target_gradient(BinaryCrossEntropy::name, v);
  v.accumulate(0, v.emit(BinaryCrossEntropyGrad{b.epsilon}, {v.grad(), v.input(0), v.input(1)}));
}
Cost cost(const BinaryCrossEntropy&, Specs in, Specs out) { return per_element(45, in, out); }
SpecList infer(const BinaryCrossEntropyGrad&, Specs in) {
  return elementwise_loss_grad(BinaryCrossEntropyGrad::name, in);
}
Cost cost(const BinaryCrossEntropyGrad&, Specs in, Specs out) { return per_element(8, in, out); }

SpecList infer(const Correct&, Specs in) {
  require_operands(Correct::name, in, 2);
  require_rank(Correct::name, "scores (n,c)", in[0], 2);
  require_float(Correct::name, "scores", in[0]);
  require_target(Correct::name, in[0], in[1]);
  return {{in[0].dtype, {in[0].shape[0]}}};
}
void vjp(const Correct&, Vjp&) { reject(Correct::name, "is a count and has no gradient"); }
Cost cost(const Correct&, Specs in, Specs out) {
  return {static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}

}  // namespace tenon::op

namespace tenon {
namespace {

/// Where `t` is the result of node type T, that node's operand: losses behind softmax or sigmoid go to the logits.
template <class T, class Matches>
Tensor behind(Tensor t, Matches matches) {
  Graph& g = t.graph();
  const std::int32_t p = g.values[static_cast<std::size_t>(t.id())].producer;
  if (p < 0) return {};
  const Node& node = g.nodes[static_cast<std::size_t>(p)];
  const T* op = std::get_if<T>(&node.op);
  return op != nullptr && matches(*op) ? Tensor{&g, node.in[0]} : Tensor{};
}
Tensor logits_of(Tensor probabilities) {
  return behind<op::Softmax>(probabilities, [](const op::Softmax& s) { return !s.log; });
}

}  // namespace

namespace detail {

Tensor softmax_crossentropy(Tensor logits, Tensor target) {
  Graph& g = graph_of(op::SoftmaxCrossEntropy::name, logits, target);
  return mean({&g, g.append(op::SoftmaxCrossEntropy{}, {logits.id(), target.id()})[0]});
}

Tensor categorical_crossentropy(Tensor probabilities, Tensor target) {
  if (const Tensor logits = logits_of(probabilities)) return softmax_crossentropy(logits, target);
  // log softmax(log p) = log p - log sum p, so this also renormalises as Keras does.
  const Tensor clipped = affine(probabilities, 1.f, 1e-7f);
  return softmax_crossentropy(log(clipped), target);
}

Tensor sigmoid_crossentropy(Tensor logits, Tensor target) {
  Graph& g = graph_of(op::SigmoidCrossEntropy::name, logits, target);
  return mean({&g, g.append1(op::SigmoidCrossEntropy{}, {logits.id(), target.id()})});
}

Tensor binary_crossentropy(Tensor probabilities, Tensor target) {
  const Tensor logits =
      behind<op::Unary>(probabilities, [](const op::Unary& u) { return u.fn == op::UnaryFn::sigmoid; });
  if (logits) return sigmoid_crossentropy(logits, target);
  Graph& g = graph_of(op::BinaryCrossEntropy::name, probabilities, target);
  return mean({&g, g.append1(op::BinaryCrossEntropy{}, {probabilities.id(), target.id()})});
}

Tensor mean_squared_error(Tensor prediction, Tensor target) {
  if (prediction.shape() != target.shape())
    reject("mean_squared_error", "target expects {}, found {}", prediction.shape().str(), target.shape().str());
  return mean(square(prediction - target));
}

Tensor accuracy(Tensor prediction, Tensor target) {
  // The largest probability is the largest logit: reading the logits lets the softmax fall away.
  if (const Tensor logits = logits_of(prediction)) prediction = logits;
  Graph& g = graph_of(op::Correct::name, prediction, target);
  return mean({&g, g.append1(op::Correct{}, {prediction.id(), target.id()})});
}

Tensor error_rate(Tensor prediction, Tensor target) { return affine(accuracy(prediction, target), -1.f, 1.f); }

}  // namespace detail
}  // namespace tenon
