// Operations that move elements without computing: reshape, transpose, concat, slice, gather, broadcast_to.
#include <algorithm>

#include "lib/ops/check.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {

SpecList infer(const Reshape& r, Specs in) {
  require_operands(Reshape::name, in, 1);
  if (r.shape.elements() != in[0].shape.elements())
    reject(Reshape::name, "{} has {} elements, {} has {}", in[0].shape.str(), in[0].shape.elements(), r.shape.str(),
           r.shape.elements());
  return {{in[0].dtype, r.shape}};
}
void vjp(const Reshape&, Vjp& v) { v.accumulate(0, v.emit(Reshape{v.spec(v.input(0)).shape}, {v.grad()})); }
Cost cost(const Reshape&, Specs, Specs) { return {}; }

SpecList infer(const Transpose& t, Specs in) {
  require_operands(Transpose::name, in, 1);
  const int rank = in[0].shape.rank();
  Shape out;
  unsigned seen = 0;
  for (int i = 0; i < rank; ++i) {
    const int p = t.perm[i];
    if (p < 0 || p >= rank || (seen >> p & 1U) != 0)
      reject(Transpose::name, "expects a permutation of {} axes, found {} at {}", rank, p, i);
    seen |= 1U << p;
    out.push_back(in[0].shape[p]);
  }
  return {{in[0].dtype, out}};
}
void vjp(const Transpose& t, Vjp& v) {
  Transpose inverse;
  for (int i = 0; i < v.spec(v.output()).shape.rank(); ++i) inverse.perm[t.perm[i]] = static_cast<std::int8_t>(i);
  v.accumulate(0, v.emit(inverse, {v.grad()}));
}
Cost cost(const Transpose&, Specs in, Specs out) { return {0, traffic(in, out)}; }

SpecList infer(const Concat& c, Specs in) {
  if (in.empty()) reject(Concat::name, "expects at least one part, found none");
  const int axis = axis_of(Concat::name, in[0].shape, c.axis);
  std::int64_t total = 0;
  for (const TensorSpec& s : in) {
    if (s.shape.rank() != in[0].shape.rank() || s.dtype != in[0].dtype ||
        s.shape.with(axis, 0) != in[0].shape.with(axis, 0))
      reject(Concat::name, "parts expect to agree outside axis {}, found {} and {}", axis, in[0].str(), s.str());
    total += s.shape[axis];
  }
  return {{in[0].dtype, in[0].shape.with(axis, total)}};
}
void vjp(const Concat& c, Vjp& v) {
  std::int64_t begin = 0;
  for (int i = 0; i < v.inputs(); ++i) {
    const std::int64_t length = v.spec(v.input(i)).shape[c.axis];
    if (v.wants(i)) v.accumulate(i, v.emit(Slice{c.axis, begin, length}, {v.grad()}));
    begin += length;
  }
}
Cost cost(const Concat&, Specs in, Specs out) { return {0, traffic(in, out)}; }

SpecList infer(const Slice& s, Specs in) {
  require_operands(Slice::name, in, 1);
  const int axis = axis_of(Slice::name, in[0].shape, s.axis);
  if (s.begin < 0 || s.length < 0 || s.begin + s.length > in[0].shape[axis])
    reject(Slice::name, "[{}, {}) expected to lie in axis {} of {}", s.begin, s.begin + s.length, axis,
           in[0].shape.str());
  return {{in[0].dtype, in[0].shape.with(axis, s.length)}};
}
void vjp(const Slice& s, Vjp& v) {
  v.accumulate(0, v.emit(SliceGrad{s, v.spec(v.input(0)).shape[s.axis]}, {v.grad()}));
}
Cost cost(const Slice&, Specs, Specs out) { return {0, 2 * static_cast<double>(out[0].bytes())}; }
SpecList infer(const SliceGrad& g, Specs in) {
  require_operands(SliceGrad::name, in, 1);
  return {{in[0].dtype, in[0].shape.with(g.forward.axis, g.extent)}};
}
Cost cost(const SliceGrad&, Specs in, Specs out) { return {0, traffic(in, out)}; }

SpecList infer(const Gather&, Specs in) {
  require_operands(Gather::name, in, 2);
  require_float(Gather::name, "table", in[0]);
  if (in[0].shape.rank() < 1) reject(Gather::name, "table expects at least one axis, found a scalar");
  if (in[1].dtype != DType::i32) reject(Gather::name, "ids expect i32, found {}", in[1].str());
  Shape out = in[1].shape;
  for (int i = 1; i < in[0].shape.rank(); ++i) out.push_back(in[0].shape[i]);
  return {{in[0].dtype, out}};
}
void vjp(const Gather&, Vjp& v) {
  if (v.wants(0))
    v.accumulate(
        0, v.emit(GatherGrad{v.spec(v.input(0)).shape[0], v.spec(v.input(1)).shape.rank()}, {v.grad(), v.input(1)}));
}
Cost cost(const Gather&, Specs, Specs out) { return {0, 2 * static_cast<double>(out[0].bytes())}; }
SpecList infer(const GatherGrad& g, Specs in) {
  require_operands(GatherGrad::name, in, 2);
  Shape out{g.rows};
  for (int i = g.ids_rank; i < in[0].shape.rank(); ++i) out.push_back(in[0].shape[i]);
  return {{in[0].dtype, out}};
}
Cost cost(const GatherGrad&, Specs in, Specs out) {
  return {static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}

SpecList infer(const BroadcastTo& b, Specs in) {
  require_operands(BroadcastTo::name, in, 1);
  const Shape& from = in[0].shape;
  const int extra = b.shape.rank() - from.rank();
  bool fits = extra >= 0;
  for (int i = 0; fits && i < from.rank(); ++i) fits = from[i] == 1 || from[i] == b.shape[i + extra];
  if (!fits) reject(BroadcastTo::name, "{} does not broadcast to {}", from.str(), b.shape.str());
  return {{in[0].dtype, b.shape}};
}
void vjp(const BroadcastTo&, Vjp& v) {
  v.accumulate(0, reduce_to_shape(v.graph(), v.grad(), v.spec(v.input(0)).shape));
}
Cost cost(const BroadcastTo&, Specs in, Specs out) { return {0, traffic(in, out)}; }

}  // namespace tenon::op

namespace tenon {

Tensor reshape(Tensor x, Shape shape) {
  Graph& g = x.graph();
  int open = -1;
  std::int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != -1)
      known *= shape[i];
    else if (open >= 0)
      reject(op::Reshape::name, "one extent may be -1, found more in {}", shape.str());
    else
      open = i;
  }
  if (open >= 0) {
    if (known == 0 || x.shape().elements() % known != 0)
      reject(op::Reshape::name, "{} does not divide into {}", x.shape().str(), shape.str());
    shape = shape.with(open, x.shape().elements() / known);
  }
  return {&g, g.append1(op::Reshape{shape}, {x.id()})};
}

Tensor flatten(Tensor x) {
  if (x.shape().rank() < 1) reject("flatten", "expects at least one axis, found a scalar");
  return reshape(x, {x.shape()[0], x.shape().product(1, x.shape().rank())});
}

Tensor transpose(Tensor x, std::span<const int> perm) {
  Graph& g = x.graph();
  if (static_cast<int>(perm.size()) != x.shape().rank())
    reject(op::Transpose::name, "expects {} axes, found {}", x.shape().rank(), perm.size());
  op::Transpose t;
  for (std::size_t i = 0; i < perm.size(); ++i)
    t.perm[i] = static_cast<std::int8_t>(axis_of(op::Transpose::name, x.shape(), perm[i]));
  return {&g, g.append1(t, {x.id()})};
}
Tensor transpose(Tensor x, std::initializer_list<int> perm) {
  return transpose(x, std::span(perm.begin(), perm.size()));
}

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  if (parts.empty()) reject(op::Concat::name, "expects at least one part, found none");
  Graph& g = parts[0].graph();
  const op::Concat concat{axis_of(op::Concat::name, parts[0].shape(), axis)};
  constexpr std::size_t most = 16;  // operands of one Problem
  std::vector<Tensor> rest = parts;
  while (rest.size() > 1) {
    std::vector<Tensor> joined;
    for (std::size_t i = 0; i < rest.size(); i += most) {
      std::vector<ValueId> in;
      for (std::size_t j = i; j < std::min(rest.size(), i + most); ++j) {
        (void)graph_of(op::Concat::name, parts[0], rest[j]);
        in.push_back(rest[j].id());
      }
      joined.push_back({&g, g.append1(concat, in)});
    }
    rest = joined;
  }
  return rest[0];
}

Tensor slice(Tensor x, int axis, std::int64_t begin, std::int64_t length) {
  Graph& g = x.graph();
  return {&g, g.append1(op::Slice{axis_of(op::Slice::name, x.shape(), axis), begin, length}, {x.id()})};
}

Tensor gather(Tensor table, Tensor ids) {
  Graph& g = graph_of(op::Gather::name, table, ids);
  return {&g, g.append1(op::Gather{}, {table.id(), ids.id()})};
}

Tensor broadcast_to(Tensor x, Shape shape) {
  Graph& g = x.graph();
  return {&g, g.append1(op::BroadcastTo{shape}, {x.id()})};
}

Tensor softmax_over(Tensor x, int axis) {
  const int rank = x.shape().rank(), a = axis_of(op::Softmax::name, x.shape(), axis);
  if (a == rank - 1) return softmax(x);
  std::vector<int> swap(static_cast<std::size_t>(rank));
  for (int i = 0; i < rank; ++i) swap[static_cast<std::size_t>(i)] = i;
  std::swap(swap[static_cast<std::size_t>(a)], swap[static_cast<std::size_t>(rank - 1)]);
  return transpose(softmax(transpose(x, swap)), swap);
}

}  // namespace tenon
