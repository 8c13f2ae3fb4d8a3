// Binds softmax and its family: work on the rows of a matrix.
#include <limits>

#include "kernels/bind/support.hpp"

namespace tenon::bind {
namespace {

constexpr int none = -1;

/// `scores` and `target` are indices of operands.
Bound bind(const Problem& p, RunFn run, int scores, int target, bool log) {
  const Shape& x = p.in[scores].shape;
  if (x.rank() == 0) return Refusal{"expects at least one axis, found a scalar"};
  const DType labels = target == none ? DType::f32 : p.in[target].dtype;
  for (int i = 0; i < p.ins; ++i) {
    if (i == target && (labels == DType::i32 || labels == DType::u8)) continue;
    if (p.in[i].dtype != DType::f32) return refuse_dtype(i == target ? "i32, u8 or f32" : "f32", i, p.in[i].dtype);
  }
  const std::int64_t cols = x[x.rank() - 1];
  if (cols > std::numeric_limits<std::int32_t>::max()) return Refusal{"expects rows of less than 2^31 elements"};
  return make_step(run, RowsGeometry{x.product(0, x.rank() - 1), cols, log, labels});
}

Bound bind_softmax(const Problem& p, const Kernel& row) {
  return bind(p, loops(row).softmax, 0, none, p.as<op::Softmax>().log);
}
Bound bind_softmax_grad(const Problem& p, const Kernel& row) {
  return bind(p, loops(row).softmax_grad, 1, none, p.as<op::SoftmaxGrad>().log);
}
Bound bind_softmax_crossentropy(const Problem& p, const Kernel& row) {
  return bind(p, loops(row).softmax_crossentropy, 0, 1, false);
}
Bound bind_softmax_crossentropy_grad(const Problem& p, const Kernel& row) {
  return bind(p, loops(row).softmax_crossentropy_grad, 1, 2, false);
}
Bound bind_correct(const Problem& p, const Kernel& row) { return bind(p, loops(row).correct, 0, 1, false); }

}  // namespace

void append_row_rows(KernelTable& table, const Loops& m) {
  const Edges edges{{m.width, 16, 4096, 128, 1024}};  // the GPU changes its path at the last two
  append<op::Softmax>(table, m, {m.softmax}, bind_softmax, edges);
  append<op::SoftmaxGrad>(table, m, {m.softmax_grad}, bind_softmax_grad, edges);
  append<op::SoftmaxCrossEntropy>(table, m, {m.softmax_crossentropy}, bind_softmax_crossentropy, edges);
  append<op::SoftmaxCrossEntropyGrad>(table, m, {m.softmax_crossentropy_grad}, bind_softmax_crossentropy_grad, edges);
  append<op::Correct>(table, m, {m.correct}, bind_correct, edges);
}

}  // namespace tenon::bind
