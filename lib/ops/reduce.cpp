// Reductions over neighbouring axes.
#include "lib/ops/check.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {
namespace {

Shape reduced(const Reduce& r, const Shape& x, bool keepdims) {
  Shape out;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < r.axis || i >= r.axis + r.count)
      out.push_back(x[i]);
    else if (keepdims)
      out.push_back(1);
  }
  return out;
}

}  // namespace

SpecList infer(const Reduce& r, Specs in) {
  require_operands(Reduce::name, in, 1);
  require_float(Reduce::name, "operand", in[0]);
  if (r.axis < 0 || r.count < 0 || r.axis + r.count > in[0].shape.rank())
    reject(Reduce::name, "axes [{}, {}) expected to lie in {}", r.axis, r.axis + r.count, in[0].shape.str());
  if (r.fn != ReduceFn::sum && in[0].shape.product(r.axis, r.axis + r.count) == 0)
    reject(Reduce::name, "mean, max and min expect at least one element, found {}", in[0].shape.str());
  return {{in[0].dtype, reduced(r, in[0].shape, r.keepdims)}};
}

void vjp(const Reduce& r, Vjp& v) {
  const Shape x = v.spec(v.input(0)).shape;
  if (r.fn == ReduceFn::max || r.fn == ReduceFn::min)
    return v.accumulate(0, v.emit(ReduceSelectGrad{r}, {v.grad(), v.input(0), v.output()}));
  ValueId g = v.grad();
  if (r.fn == ReduceFn::mean) {
    // Divided before it is spread: one division an output instead of one an input.
    Array count = Array::scalar(static_cast<float>(x.product(r.axis, r.axis + r.count))).to(v.spec(g).dtype);
    g = v.emit(Binary{BinaryFn::div}, {g, v.graph().add_constant(std::move(count))});
  }
  if (!r.keepdims) g = v.emit(Reshape{reduced(r, x, true)}, {g});
  v.accumulate(0, v.emit(BroadcastTo{x}, {g}));
}

Cost cost(const Reduce&, Specs in, Specs out) {
  return {static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}

SpecList infer(const ReduceSelectGrad& g, Specs in) {
  require_operands(ReduceSelectGrad::name, in, 3);
  require_same(ReduceSelectGrad::name, "gradient", in[0], in[2]);
  const Shape y = reduced(g.forward, in[1].shape, g.forward.keepdims);
  require_same(ReduceSelectGrad::name, "output", in[2], {in[1].dtype, y});
  return {in[1]};
}
Cost cost(const ReduceSelectGrad&, Specs in, Specs out) { return per_element(1, in, out); }

}  // namespace tenon::op

namespace tenon {
namespace {
Tensor reduce_axis(op::ReduceFn fn, Tensor x, int axis, bool keepdims) {
  Graph& g = x.graph();
  return {&g, g.append1(op::Reduce{fn, axis_of(op::Reduce::name, x.shape(), axis), 1, keepdims}, {x.id()})};
}
Tensor reduce_all(op::ReduceFn fn, Tensor x) {
  Graph& g = x.graph();
  return {&g, g.append1(op::Reduce{fn, 0, x.shape().rank(), false}, {x.id()})};
}
}  // namespace

Tensor sum(Tensor x) { return reduce_all(op::ReduceFn::sum, x); }
Tensor mean(Tensor x) { return reduce_all(op::ReduceFn::mean, x); }
Tensor sum(Tensor x, int axis, bool keepdims) { return reduce_axis(op::ReduceFn::sum, x, axis, keepdims); }
Tensor mean(Tensor x, int axis, bool keepdims) { return reduce_axis(op::ReduceFn::mean, x, axis, keepdims); }
Tensor max(Tensor x, int axis, bool keepdims) { return reduce_axis(op::ReduceFn::max, x, axis, keepdims); }
Tensor min(Tensor x, int axis, bool keepdims) { return reduce_axis(op::ReduceFn::min, x, axis, keepdims); }

}  // namespace tenon
