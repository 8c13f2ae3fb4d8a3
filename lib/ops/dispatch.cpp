// The rules of any operation, and the helpers that rules share.
#include "lib/ops/dispatch.hpp"

#include <fmt/format.h>

#include "tenon/error.hpp"

namespace tenon {

void dispatch::no_gradient(std::string_view op) {
  throw UsageError(fmt::format("[{}] has no gradient of its own: second order is not supported", op));
}

SpecList infer_node(const op::AnyOp& any, Specs in) { return dispatch::infer_any(any, in); }
void vjp_node(const op::AnyOp& any, Vjp& v) { dispatch::vjp_any<op::Op>(any, v); }
Cost cost_node(const op::AnyOp& any, Specs in, Specs out) { return dispatch::cost_any(any, in, out); }

ValueId Vjp::grad(int i) const { return gradient_of_[static_cast<std::size_t>(output(i))]; }

void Vjp::accumulate(int i, ValueId gradient) {
  const auto target = static_cast<std::size_t>(input(i));
  if (gradient_of_.size() < graph_.values.size()) gradient_of_.resize(graph_.values.size(), no_value);
  ValueId& known = gradient_of_[target];
  if (known == no_value) {
    known = gradient;
  } else {
    const ValueId sum = graph_.append1(op::Binary{op::BinaryFn::add}, {known, gradient});
    gradient_of_.resize(graph_.values.size(), no_value);
    gradient_of_[target] = sum;
  }
}

ValueId reduce_to_shape(Graph& g, ValueId value, const Shape& shape) {
  const Shape from = g.spec(value).shape;
  if (from == shape) return value;
  const int extra = from.rank() - shape.rank();
  if (extra > 0) value = g.append1(op::Reduce{op::ReduceFn::sum, 0, extra, false}, {value});
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == 1 && g.spec(value).shape[axis] != 1)
      value = g.append1(op::Reduce{op::ReduceFn::sum, axis, 1, true}, {value});
  return value;
}

}  // namespace tenon
