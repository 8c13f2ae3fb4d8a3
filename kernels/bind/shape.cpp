// Binds the operations that move elements, the reductions and the bias.
#include "kernels/bind/support.hpp"
#include "kernels/common/order.hpp"

namespace tenon::bind {
namespace {

constexpr int most_parts = static_cast<int>(sizeof(ConcatGeometry::part_bytes) / sizeof(std::int64_t));

std::int64_t bytes_of(const TensorSpec& spec) { return static_cast<std::int64_t>(size_of(spec.dtype)); }
int axis_in(const Shape& s, int axis) { return axis < 0 ? axis + s.rank() : axis; }

Bound bind_transpose(const Problem& p, const Kernel& row) {
  const Shape& x = p.in[0].shape;
  const auto& perm = p.as<op::Transpose>().perm;
  Layout y;
  for (int i = 0; i < x.rank(); ++i) y.append(x[perm[i]], dense_stride(x, perm[i]));
  y.finish();
  TransposeGeometry g{y.rank, {}, {}, static_cast<std::int32_t>(bytes_of(p.in[0]))};
  for (int i = 0; i < y.rank; ++i) {
    g.extent[i] = y.extent[i];
    g.stride[i] = y.stride[i];
  }
  return make_step(loops(row).transpose, g);
}

Bound bind_concat(const Problem& p, const Kernel& row) {
  if (p.ins > most_parts)
    return Refusal{"expects at most " + std::to_string(most_parts) + " parts, found " + std::to_string(p.ins)};
  const int axis = axis_in(p.in[0].shape, p.as<op::Concat>().axis);
  ConcatGeometry g{p.ins, p.in[0].shape.product(0, axis), {}};
  for (int i = 0; i < p.ins; ++i)
    g.part_bytes[i] = p.in[i].shape.product(axis, p.in[i].shape.rank()) * bytes_of(p.in[i]);
  return make_step(loops(row).concat, g);
}

/// `part` is the value beside the slice: y of a slice, gy of its gradient.
SliceGeometry slice_geometry(const op::Slice& s, const TensorSpec& part, std::int64_t extent) {
  const int axis = axis_in(part.shape, s.axis);
  const std::int64_t element = dense_stride(part.shape, axis) * bytes_of(part);
  return {part.shape.product(0, axis), extent * element, s.begin * element, s.length * element};
}
Bound bind_slice(const Problem& p, const Kernel& row) {
  const auto& s = p.as<op::Slice>();
  return make_step(loops(row).slice, slice_geometry(s, p.out[0], p.in[0].shape[s.axis]));
}
Bound bind_slice_grad(const Problem& p, const Kernel& row) {
  const auto& s = p.as<op::SliceGrad>();
  return make_step(loops(row).slice_grad, slice_geometry(s.forward, p.in[0], s.extent));
}

Bound bind_gather(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  if (p.in[1].dtype != DType::i32) return refuse_dtype("i32", 1, p.in[1].dtype);
  const Shape& table = p.in[0].shape;
  return make_step(loops(row).gather,
                   GatherGeometry{table[0], table.product(1, table.rank()), p.in[1].shape.elements()});
}
Bound bind_gather_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  if (p.in[1].dtype != DType::i32) return refuse_dtype("i32", 1, p.in[1].dtype);
  const auto& grad = p.as<op::GatherGrad>();
  const Shape& gy = p.in[0].shape;
  return make_step(loops(row).gather_grad,
                   GatherGeometry{grad.rows, gy.product(grad.ids_rank, gy.rank()), p.in[1].shape.elements()});
}

Bound bind_broadcast_to(const Problem& p, const Kernel& row) {
  if (size_of(p.in[0].dtype) != 4) return refuse_dtype("an element of 4 bytes", 0, p.in[0].dtype);
  const Shape &x = p.in[0].shape, &y = p.out[0].shape;
  Layout merged;
  for (int i = 0; i < y.rank(); ++i) {
    const int axis = i - (y.rank() - x.rank());
    const bool repeats = axis < 0 || x[axis] == 1;
    merged.append(y[i], repeats ? 0 : dense_stride(x, axis));
  }
  merged.finish();
  BroadcastGeometry g{merged.rank, {}, {}};
  for (int i = 0; i < merged.rank; ++i) {
    g.extent[i] = merged.extent[i];
    g.stride[i] = merged.stride[i];
  }
  return make_step(loops(row).broadcast_to, g);
}

/// Room for the results of chunks, where there is more than one.
std::size_t part_bytes(std::int64_t terms, std::int64_t chunk, std::int64_t outputs) {
  const std::int64_t chunks = order::chunks(terms, chunk);
  return chunks == 1 ? 0 : static_cast<std::size_t>(chunks * outputs) * 4;
}

ReduceGeometry reduce_geometry(const op::Reduce& r, const Shape& x) {
  const int end = r.axis + r.count;
  return {r.fn, x.product(0, r.axis), x.product(r.axis, end), x.product(end, x.rank())};
}
Bound bind_reduce(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const ReduceGeometry g = reduce_geometry(p.as<op::Reduce>(), p.in[0].shape);
  if (g.n == 0 && g.fn != op::ReduceFn::sum) return Refusal{"mean, max and min of no element have no value"};
  const std::int64_t chunk = g.inner == 1 ? order::reduce_chunk : order::k_chunk;
  return make_step(loops(row).reduce, g, part_bytes(g.n, chunk, g.outer * g.inner));
}
Bound bind_reduce_select_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 3)) return *refusal;
  return make_step(loops(row).reduce_select_grad, reduce_geometry(p.as<op::ReduceSelectGrad>().forward, p.in[1].shape));
}

/// The first axis of rank >= 3 counts samples; the rows of a matrix are counted one by one.
BiasGeometry bias_geometry(const Shape& x) {
  const bool by_sample = x.rank() >= 3;
  const std::int64_t n = x.rank() >= 2 ? x[0] : 1;
  return {n, by_sample ? x.product(1, x.rank() - 1) : 1, x[x.rank() - 1], by_sample};
}
Bound bind_bias_add(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 2)) return *refusal;
  return make_step(loops(row).bias_add, bias_geometry(p.in[0].shape));
}
Bound bind_bias_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const BiasGeometry g = bias_geometry(p.in[0].shape);
  const std::int64_t chunk = g.by_sample ? order::sample_group * g.inner : order::k_chunk;
  return make_step(loops(row).bias_grad, g, part_bytes(g.n * g.inner, chunk, g.c));
}

}  // namespace

void append_shape_rows(KernelTable& table, const Loops& m) {
  const Edges edges{{m.width, 4096, 1024}};
  append<op::Transpose>(table, m, {m.transpose}, bind_transpose, edges);
  append<op::Concat>(table, m, {m.concat}, bind_concat, edges);
  append<op::Slice>(table, m, {m.slice}, bind_slice, edges);
  append<op::SliceGrad>(table, m, {m.slice_grad}, bind_slice_grad, edges);
  append<op::Gather>(table, m, {m.gather}, bind_gather, edges);
  append<op::GatherGrad>(table, m, {m.gather_grad}, bind_gather_grad, edges);
  append<op::BroadcastTo>(table, m, {m.broadcast_to}, bind_broadcast_to, edges);
  append<op::Reduce>(table, m, {m.reduce}, bind_reduce, edges);
  append<op::ReduceSelectGrad>(table, m, {m.reduce_select_grad}, bind_reduce_select_grad, edges);
  append<op::BiasAdd>(table, m, {m.bias_add}, bind_bias_add, edges);
  append<op::BiasGrad>(table, m, {m.bias_grad}, bind_bias_grad, edges);
}

}  // namespace tenon::bind
