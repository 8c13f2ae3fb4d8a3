// Operations that move elements of any type as bytes: transpose, concat, slice and its gradient, broadcast_to.
#include <algorithm>
#include <cstring>

#include "kernels/reference/support.hpp"

namespace tenon::reference {
namespace {

/// Output extents, and strides of x in elements for each output axis (0 where it broadcasts).
struct StridedGeometry {
  int rank;
  std::int64_t n, extent[Shape::max_rank], stride[Shape::max_rank];
  std::size_t bytes;  // of an element
};

void copy_strided(const Call& call) {
  const auto& g = state_of<StridedGeometry>(call);
  const auto* x = in<std::byte>(call, 0);
  auto* y = out<std::byte>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) {
    std::int64_t rest = i, from = 0;
    for (int axis = g.rank - 1; axis >= 0; --axis) {
      from += rest % g.extent[axis] * g.stride[axis];
      rest /= g.extent[axis];
    }
    std::memcpy(y + static_cast<std::size_t>(i) * g.bytes, x + static_cast<std::size_t>(from) * g.bytes, g.bytes);
  }
}

/// parts (outer, length[i]) bytes -> (outer, sum of lengths).
struct ConcatGeometry {
  std::int32_t parts;
  std::size_t outer, length[Problem::max_in];
};

void concat(const Call& call) {
  const auto& g = state_of<ConcatGeometry>(call);
  auto* y = out<std::byte>(call, 0);
  for (std::size_t o = 0; o < g.outer; ++o)
    for (std::int32_t i = 0; i < g.parts; ++i) {
      const std::size_t length = g.length[i];
      if (length != 0) std::memcpy(y, in<std::byte>(call, i) + o * length, length);
      y += length;
    }
}

/// Bytes of the sliced axis and what is inside it.
struct SliceGeometry {
  std::size_t outer, extent, begin, length;
};

void slice(const Call& call) {
  const auto& g = state_of<SliceGeometry>(call);
  if (g.length == 0) return;
  for (std::size_t o = 0; o < g.outer; ++o)
    std::memcpy(out<std::byte>(call, 0) + o * g.length, in<std::byte>(call, 0) + o * g.extent + g.begin, g.length);
}

void slice_grad(const Call& call) {
  const auto& g = state_of<SliceGeometry>(call);
  auto* gx = out<std::byte>(call, 0);
  std::fill(gx, gx + g.outer * g.extent, std::byte{0});  // all bits zero is 0 in every type
  if (g.length == 0) return;
  for (std::size_t o = 0; o < g.outer; ++o)
    std::memcpy(gx + o * g.extent + g.begin, in<std::byte>(call, 0) + o * g.length, g.length);
}

bool same_types(const Problem& p) {
  for (std::int32_t i = 0; i < p.ins; ++i)
    if (p.in[i].dtype != p.out[0].dtype) return false;
  return p.outs == 1;
}
Refusal mixed() { return {"expects one output and one element type"}; }

std::size_t bytes_between(const TensorSpec& x, int first, int last) {
  return static_cast<std::size_t>(x.shape.product(first, last)) * size_of(x.dtype);
}
int axis_of(std::int32_t axis, const Shape& x) { return axis < 0 ? axis + x.rank() : axis; }

StridedGeometry strided(const Shape& y, DType type) {
  StridedGeometry g{y.rank(), y.elements(), {}, {}, size_of(type)};
  std::copy(y.extents().begin(), y.extents().end(), g.extent);
  return g;
}

Bound bind_transpose(const Problem& p, const Kernel&) {
  if (!same_types(p)) return mixed();
  const Shape& x = p.in[0].shape;
  StridedGeometry g = strided(p.out[0].shape, p.in[0].dtype);
  for (int i = 0; i < g.rank; ++i) g.stride[i] = x.product(p.as<op::Transpose>().perm[i] + 1, x.rank());
  return make_step(copy_strided, g);
}

Bound bind_broadcast_to(const Problem& p, const Kernel&) {
  if (!same_types(p)) return mixed();
  const Shape& x = p.in[0].shape;
  StridedGeometry g = strided(p.out[0].shape, p.in[0].dtype);
  for (int i = 0; i < g.rank; ++i) {
    const int axis = i - (g.rank - x.rank());
    g.stride[i] = axis < 0 || x[axis] == 1 ? 0 : x.product(axis + 1, x.rank());
  }
  return make_step(copy_strided, g);
}

Bound bind_concat(const Problem& p, const Kernel&) {
  if (!same_types(p)) return mixed();
  const int axis = axis_of(p.as<op::Concat>().axis, p.in[0].shape);
  ConcatGeometry g{p.ins, static_cast<std::size_t>(p.in[0].shape.product(0, axis)), {}};
  for (std::int32_t i = 0; i < p.ins; ++i) g.length[i] = bytes_between(p.in[i], axis, p.in[i].shape.rank());
  return make_step(concat, g);
}

/// `x` is the operand that has the whole axis.
SliceGeometry slice_geometry(const op::Slice& s, const TensorSpec& x) {
  const int axis = axis_of(s.axis, x.shape), rank = x.shape.rank();
  const std::size_t unit = bytes_between(x, axis + 1, rank);
  return {static_cast<std::size_t>(x.shape.product(0, axis)), bytes_between(x, axis, rank),
          static_cast<std::size_t>(s.begin) * unit, static_cast<std::size_t>(s.length) * unit};
}

Bound bind_slice(const Problem& p, const Kernel&) {
  if (!same_types(p)) return mixed();
  return make_step(slice, slice_geometry(p.as<op::Slice>(), p.in[0]));
}
Bound bind_slice_grad(const Problem& p, const Kernel&) {
  if (!same_types(p)) return mixed();
  return make_step(slice_grad, slice_geometry(p.as<op::SliceGrad>().forward, p.out[0]));
}

}  // namespace

void append_shape_rows(KernelTable& table) {
  table.push_back(row<op::Transpose>(bind_transpose));
  table.push_back(row<op::Concat>(bind_concat));
  table.push_back(row<op::Slice>(bind_slice));
  table.push_back(row<op::SliceGrad>(bind_slice_grad));
  table.push_back(row<op::BroadcastTo>(bind_broadcast_to));
}

}  // namespace tenon::reference
