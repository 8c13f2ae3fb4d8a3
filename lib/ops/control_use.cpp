#include "lib/ops/control_use.hpp"

#include "lib/ops/visit.hpp"

namespace tenon {
namespace {

using namespace op;

struct UseOf {
  ControlUse operator()(const one_of<Conv2d, MatMul> auto& o) const {
    return o.epilogue.dropout > 0.f ? ControlUse::counts : ControlUse::none;
  }
  /// A mask or y says what a gradient's epilogue did: nothing random is drawn again.
  ControlUse operator()(
      const one_of<Conv2dGradInput, Conv2dGradFilter, MatMulGradA, MatMulGradB, BiasAdd, BiasGrad, Pool2d, Pool2dGrad,
                   Unary, UnaryGrad, Binary, PointwiseChain, Softmax, SoftmaxGrad, SigmoidCrossEntropy,
                   SigmoidCrossEntropyGrad, BinaryCrossEntropy, BinaryCrossEntropyGrad, Reshape, Transpose, Concat,
                   Slice, SliceGrad, Reduce, ReduceSelectGrad, BroadcastTo> auto&) const {
    return ControlUse::none;
  }
  ControlUse operator()(const one_of<Dropout, DropoutGrad> auto&) const { return ControlUse::counts; }
  /// Labels and indices may be out of range; a loss may be no number.
  ControlUse operator()(const one_of<SoftmaxCrossEntropy, SoftmaxCrossEntropyGrad, Correct, Gather, GatherGrad,
                                     CheckFinite> auto&) const {
    return ControlUse::marks;
  }
  ControlUse operator()(const one_of<SgdUpdate, AdadeltaUpdate, AdagradUpdate, RmspropUpdate, AdamUpdate> auto&) const {
    return ControlUse::obeys;
  }
  ControlUse operator()(const one_of<AccumulateGrad, ClipNorm, AssignEma, UnscaleGrad, CustomOp> auto&) const {
    return ControlUse::all;
  }
};

}  // namespace

ControlUse control_use(const AnyOp& any) { return visit_op<ControlUse>(UseOf{}, any); }

}  // namespace tenon
