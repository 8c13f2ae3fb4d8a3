// The elementwise losses between a prediction and a target, and their gradients; formulas in
// kernels/common/elementwise_loss.hpp.
#include "kernels/common/elementwise_loss.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {
namespace {

struct LossGeometry {
  float epsilon;
  std::int64_t n;
};

template <class T>
auto loss_of(op::SigmoidCrossEntropy, float) {
  return pointwise::SigmoidCrossEntropy<math::Policy<T>>{};
}
template <class T>
auto loss_of(op::BinaryCrossEntropy, float epsilon) {
  return pointwise::BinaryCrossEntropy<math::Policy<T>>{epsilon};
}

template <class Op, class T>
void loss_value(const Call& call) {
  const auto& g = state_of<LossGeometry>(call);
  const auto loss = loss_of<T>(Op{}, g.epsilon);
  const T *x = in<T>(call, 0), *target = in<T>(call, 1);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) y[i] = loss.value(x[i], target[i]);
}

template <class Op, class T>
void loss_gradient(const Call& call) {
  const auto& g = state_of<LossGeometry>(call);
  const auto loss = loss_of<T>(Op{}, g.epsilon);
  const T *gy = in<T>(call, 0), *x = in<T>(call, 1), *target = in<T>(call, 2);
  T* gx = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) gx[i] = loss.gradient(gy[i], x[i], target[i]);
}

template <class Op>
Bound bind_value(const Problem& p, float epsilon) {
  return Binder(p, "ff", "f")
      .step(loss_value<Op, float>, loss_value<Op, double>, LossGeometry{epsilon, p.in[0].shape.elements()});
}
template <class Op>
Bound bind_gradient(const Problem& p, float epsilon) {
  return Binder(p, "fff", "f")
      .step(loss_gradient<Op, float>, loss_gradient<Op, double>, LossGeometry{epsilon, p.in[0].shape.elements()});
}

Bound bind_sigmoid(const Problem& p, const Kernel&) { return bind_value<op::SigmoidCrossEntropy>(p, 0.f); }
Bound bind_sigmoid_grad(const Problem& p, const Kernel&) { return bind_gradient<op::SigmoidCrossEntropy>(p, 0.f); }
Bound bind_binary(const Problem& p, const Kernel&) {
  return bind_value<op::BinaryCrossEntropy>(p, p.as<op::BinaryCrossEntropy>().epsilon);
}
Bound bind_binary_grad(const Problem& p, const Kernel&) {
  return bind_gradient<op::BinaryCrossEntropy>(p, p.as<op::BinaryCrossEntropyGrad>().epsilon);
}

}  // namespace

void append_loss_rows(KernelTable& table) {
  table.push_back(row<op::SigmoidCrossEntropy>(bind_sigmoid));
  table.push_back(row<op::SigmoidCrossEntropyGrad>(bind_sigmoid_grad));
  table.push_back(row<op::BinaryCrossEntropy>(bind_binary));
  table.push_back(row<op::BinaryCrossEntropyGrad>(bind_binary_grad));
}

}  // namespace tenon::reference
