// From the variant to the overload sets of rules.hpp, and the helpers that rules share.
#include <fmt/format.h>

#include "lib/ops/check.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon {

SpecList infer_node(const op::AnyOp& any, Specs in) {
  return std::visit([&](const auto& o) { return infer(o, in); }, any);
}

void vjp_node(const op::AnyOp& any, Vjp& v) {
  std::visit(
      [&](const auto& o) {
        using T = std::decay_t<decltype(o)>;
        if constexpr (op::Differentiable<T>)
          vjp(o, v);
        else
          throw UsageError(fmt::format("[{}] has no gradient of its own: second order is not supported", T::name));
      },
      any);
}

Cost cost_node(const op::AnyOp& any, Specs in, Specs out) {
  return std::visit([&](const auto& o) { return cost(o, in, out); }, any);
}

ValueId Vjp::grad(int i) const {
  return gradient_of_[static_cast<std::size_t>(output(i))];
}

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
