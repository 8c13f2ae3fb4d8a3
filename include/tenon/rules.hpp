// The rules of every operation, as overload sets: shape inference, gradient, cost. Dispatchers have other names
// (infer_node, vjp_node, cost_node) so that a missing overload is an error and not a recursion through the variant.
#pragma once
#include <span>
#include <vector>

#include "tenon/graph.hpp"

namespace tenon {

using Specs = std::span<const TensorSpec>;
using SpecList = std::vector<TensorSpec>;

/// What an operation has to do at least: floating-point operations and bytes moved when each operand crosses once.
struct Cost {
  double flops = 0, bytes = 0;
};

/// What a gradient rule sees of its node, and where it puts what it computes.
class Vjp {
 public:
  Vjp(Graph& graph, const Node& node, std::vector<ValueId>& gradient_of)
      : graph_(graph), node_(node), gradient_of_(gradient_of) {}

  [[nodiscard]] Graph& graph() const { return graph_; }
  [[nodiscard]] ValueId input(int i) const { return node_.in[static_cast<std::size_t>(i)]; }
  [[nodiscard]] ValueId output(int i = 0) const { return node_.out[static_cast<std::size_t>(i)]; }
  [[nodiscard]] int inputs() const { return static_cast<int>(node_.in.size()); }
  [[nodiscard]] const TensorSpec& spec(ValueId v) const { return graph_.spec(v); }
  /// Gradient of the loss by output i.
  [[nodiscard]] ValueId grad(int i = 0) const;
  /// True where somebody wants the gradient of input i.
  [[nodiscard]] bool wants(int i) const { return wanted_.empty() || wanted_[static_cast<std::size_t>(i)]; }
  /// Adds `gradient` to what is known of the gradient of input i.
  void accumulate(int i, ValueId gradient);

  ValueId emit(op::AnyOp op, std::vector<ValueId> in) { return graph_.append1(std::move(op), std::move(in)); }
  std::vector<ValueId> emit_all(op::AnyOp op, std::vector<ValueId> in) {
    return graph_.append(std::move(op), std::move(in));
  }
  void set_wanted(std::vector<bool> wanted) { wanted_ = std::move(wanted); }

 private:
  Graph& graph_;
  Node node_;  // a copy: appending moves the nodes
  std::vector<ValueId>& gradient_of_;
  std::vector<bool> wanted_;
};

[[nodiscard]] SpecList infer_node(const op::AnyOp&, Specs in);
/// Throws UsageError for an operation that has no gradient (second order, updates).
void vjp_node(const op::AnyOp&, Vjp&);
[[nodiscard]] Cost cost_node(const op::AnyOp&, Specs in, Specs out);

/// Sums `value` down to `shape`, undoing a broadcast.
[[nodiscard]] ValueId reduce_to_shape(Graph&, ValueId value, const Shape& shape);

}  // namespace tenon

// The overload sets. One declaration an operation and rule; definitions in lib/ops/, one file a family.
namespace tenon::op {

#define TENON_RULES(T)             \
  SpecList infer(const T&, Specs); \
  void vjp(const T&, Vjp&);        \
  Cost cost(const T&, Specs in, Specs out);
TENON_RULES(Conv2d)
TENON_RULES(MatMul)
TENON_RULES(BiasAdd)
TENON_RULES(Pool2d)
TENON_RULES(Unary)
TENON_RULES(Binary)
TENON_RULES(Softmax)
TENON_RULES(SoftmaxCrossEntropy)
TENON_RULES(SigmoidCrossEntropy)
TENON_RULES(BinaryCrossEntropy)
TENON_RULES(Dropout)
TENON_RULES(Reshape)
TENON_RULES(Transpose)
TENON_RULES(Concat)
TENON_RULES(Slice)
TENON_RULES(Gather)
TENON_RULES(Reduce)
TENON_RULES(BroadcastTo)
TENON_RULES(Correct)
TENON_RULES(CustomOp)
#undef TENON_RULES

#define TENON_RULES(T)             \
  SpecList infer(const T&, Specs); \
  Cost cost(const T&, Specs in, Specs out);
TENON_RULES(Conv2dGradInput)
TENON_RULES(Conv2dGradFilter)
TENON_RULES(MatMulGradA)
TENON_RULES(MatMulGradB)
TENON_RULES(BiasGrad)
TENON_RULES(Pool2dGrad)
TENON_RULES(UnaryGrad)
TENON_RULES(SoftmaxGrad)
TENON_RULES(SoftmaxCrossEntropyGrad)
TENON_RULES(SigmoidCrossEntropyGrad)
TENON_RULES(BinaryCrossEntropyGrad)
TENON_RULES(DropoutGrad)
TENON_RULES(SliceGrad)
TENON_RULES(GatherGrad)
TENON_RULES(ReduceSelectGrad)
TENON_RULES(PointwiseChain)
TENON_RULES(SgdUpdate)
TENON_RULES(AdadeltaUpdate)
TENON_RULES(AdagradUpdate)
TENON_RULES(RmspropUpdate)
TENON_RULES(AdamUpdate)
TENON_RULES(AccumulateGrad)
TENON_RULES(ClipNorm)
TENON_RULES(AssignEma)
TENON_RULES(CheckFinite)
TENON_RULES(UnscaleGrad)
#undef TENON_RULES

}  // namespace tenon::op
