// sigmoid_crossentropy, _grad   logits, target -> loss; gy, logits, target -> gradient of the logits
// binary_crossentropy, _grad    probabilities, target -> loss; gy, probabilities, target -> gradient of those
// Element by element, formulas in kernels/common/elementwise_loss.hpp. Threads own four neighbours.
#include "kernels/common/elementwise_loss.hpp"

#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

using SigmoidLoss = pointwise::SigmoidCrossEntropy<math::Scalar>;
using BinaryLoss = pointwise::BinaryCrossEntropy<math::Scalar>;

template <class Loss>
struct LossValue {
  Loss f;
  __device__ float operator()(float p, float t) const { return f.value(p, t); }
};
template <class Loss>
struct LossGradient {
  Loss f;
  __device__ float operator()(float gy, float p, float t) const { return f.gradient(gy, p, t); }
};

}  // namespace

void sigmoid_crossentropy(const Call& call) { map<2>(call, state_of<LossGeometry>(call).n, LossValue<SigmoidLoss>{}); }
void sigmoid_crossentropy_grad(const Call& call) {
  map<3>(call, state_of<LossGeometry>(call).n, LossGradient<SigmoidLoss>{});
}
void binary_crossentropy(const Call& call) {
  const auto& g = state_of<LossGeometry>(call);
  map<2>(call, g.n, LossValue<BinaryLoss>{{g.epsilon}});
}
void binary_crossentropy_grad(const Call& call) {
  const auto& g = state_of<LossGeometry>(call);
  map<3>(call, g.n, LossGradient<BinaryLoss>{{g.epsilon}});
}

}  // namespace tenon::cuda
