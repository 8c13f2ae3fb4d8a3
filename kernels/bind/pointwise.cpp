// Binds the pointwise functions, dropout, and the losses between two numbers.
#include "kernels/bind/support.hpp"

namespace tenon::bind {
namespace {

Bound bind_unary(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const auto& u = p.as<op::Unary>();
  return make_step(loops(row).unary, UnaryGeometry{u.fn, u.alpha, u.beta, p.in[0].shape.elements()});
}
Bound bind_unary_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 2)) return *refusal;
  const auto& u = p.as<op::UnaryGrad>().forward;
  return make_step(loops(row).unary_grad, UnaryGeometry{u.fn, u.alpha, u.beta, p.in[0].shape.elements()});
}

/// Appends an axis of the output inside the others; one of extent 1 is dropped, one that continues its neighbour in
/// both operands joins it.
void append_axis(BinaryGeometry& g, std::int64_t extent, std::int64_t stride_a, std::int64_t stride_b) {
  if (extent == 1) return;
  const std::int32_t last = g.rank - 1;
  if (last >= 0 && g.stride_a[last] == stride_a * extent && g.stride_b[last] == stride_b * extent) {
    g.extent[last] *= extent;
    g.stride_a[last] = stride_a;
    g.stride_b[last] = stride_b;
    return;
  }
  g.extent[g.rank] = extent;
  g.stride_a[g.rank] = stride_a;
  g.stride_b[g.rank++] = stride_b;
}

/// Stride of `x` along axis `axis` of an output of rank `rank`; 0 where x repeats.
std::int64_t broadcast_stride(const Shape& x, int axis, int rank) {
  const int own = axis - (rank - x.rank());
  return own < 0 || x[own] == 1 ? 0 : dense_stride(x, own);
}

Bound bind_binary(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 2)) return *refusal;
  const Shape& y = p.out[0].shape;
  BinaryGeometry g{p.as<op::Binary>().fn, 0, {}, {}, {}};
  for (int axis = 0; axis < y.rank(); ++axis) {
    append_axis(g, y[axis], broadcast_stride(p.in[0].shape, axis, y.rank()),
                broadcast_stride(p.in[1].shape, axis, y.rank()));
  }
  if (g.rank == 0) {  // a single element has one axis all the same
    g.rank = 1;
    g.extent[0] = g.stride_a[0] = g.stride_b[0] = 1;
  }
  return make_step(loops(row).binary, g);
}

Bound bind_pointwise_chain(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, p.ins)) return *refusal;
  ChainGeometry g{p.as<op::PointwiseChain>(), {}, p.out[0].shape.elements()};
  for (int i = 0; i < p.ins; ++i) g.one_value[i] = p.in[i].shape.elements() != g.n;
  return make_step(loops(row).pointwise_chain, g);
}

Bound bind_dropout(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const auto& d = p.as<op::Dropout>();
  const std::int64_t n = p.in[0].shape.elements();
  if (n > std::int64_t{1} << 34)
    return Refusal{"expects at most 2^34 elements, because a counter word numbers them by fours"};
  return make_step(loops(row).dropout, DropoutGeometry{d.rate, d.site, n});
}
Bound bind_dropout_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  if (p.in[1].dtype != DType::u8) return refuse_dtype("u8", 1, p.in[1].dtype);
  return make_step(loops(row).dropout_grad, DropoutGeometry{p.as<op::DropoutGrad>().rate, 0, p.in[0].shape.elements()});
}

Bound bind_loss(const Problem& p, RunFn run, float epsilon) {
  if (auto refusal = refuse_unless_f32(p, p.ins)) return *refusal;
  return make_step(run, LossGeometry{epsilon, p.in[0].shape.elements()});
}
Bound bind_sigmoid_crossentropy(const Problem& p, const Kernel& row) {
  return bind_loss(p, loops(row).sigmoid_crossentropy, 0.f);
}
Bound bind_sigmoid_crossentropy_grad(const Problem& p, const Kernel& row) {
  return bind_loss(p, loops(row).sigmoid_crossentropy_grad, 0.f);
}
Bound bind_binary_crossentropy(const Problem& p, const Kernel& row) {
  return bind_loss(p, loops(row).binary_crossentropy, p.as<op::BinaryCrossEntropy>().epsilon);
}
Bound bind_binary_crossentropy_grad(const Problem& p, const Kernel& row) {
  return bind_loss(p, loops(row).binary_crossentropy_grad, p.as<op::BinaryCrossEntropyGrad>().epsilon);
}

}  // namespace

void append_pointwise_rows(KernelTable& table, const Loops& m) {
  const Edges edges{{m.width, 4096, 16384}};
  append<op::Unary>(table, m, {m.unary}, bind_unary, edges);
  append<op::UnaryGrad>(table, m, {m.unary_grad}, bind_unary_grad, edges);
  append<op::Binary>(table, m, {m.binary}, bind_binary, edges);
  append<op::PointwiseChain>(table, m, {m.pointwise_chain}, bind_pointwise_chain, {{m.width, 512, 16384}});
  append<op::Dropout>(table, m, {m.dropout}, bind_dropout, {{m.width, 4 * m.width, 4096, 16384}});
  append<op::DropoutGrad>(table, m, {m.dropout_grad}, bind_dropout_grad, edges);
  append<op::SigmoidCrossEntropy>(table, m, {m.sigmoid_crossentropy}, bind_sigmoid_crossentropy, edges);
  append<op::SigmoidCrossEntropyGrad>(table, m, {m.sigmoid_crossentropy_grad}, bind_sigmoid_crossentropy_grad, edges);
  append<op::BinaryCrossEntropy>(table, m, {m.binary_crossentropy}, bind_binary_crossentropy, edges);
  append<op::BinaryCrossEntropyGrad>(table, m, {m.binary_crossentropy_grad}, bind_binary_crossentropy_grad, edges);
}

}  // namespace tenon::bind
