// differentiate: walks the list backwards from the loss and lets each node's rule append its gradient nodes. Only what
// lies between the wanted values and the loss gets a gradient.
#include <fmt/format.h>

#include "lib/passes/passes.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon {
namespace {

/// Values that depend on one of `wrt` through nodes of the forward pass.
std::vector<bool> dependants(const Graph& g, const std::vector<ValueId>& wrt, std::size_t nodes) {
  std::vector<bool> depends(g.values.size());
  for (const ValueId v : wrt) depends[static_cast<std::size_t>(v)] = true;
  for (std::size_t i = 0; i < nodes; ++i) {
    const Node& n = g.nodes[i];
    if (n.dead) continue;
    bool any = false;
    for (const ValueId v : n.in) any = any || depends[static_cast<std::size_t>(v)];
    for (const ValueId v : n.out) depends[static_cast<std::size_t>(v)] = any;
  }
  return depends;
}

}  // namespace

std::vector<ValueId> differentiate(Graph& g, ValueId loss, const std::vector<ValueId>& wrt, ValueId seed) {
  if (seed == no_value) {
    if (g.spec(loss).shape.elements() != 1)
      throw UsageError(fmt::format("[differentiate] loss expects one element, found {}", g.spec(loss).str()));
    Array one(g.spec(loss));
    if (one.dtype() == DType::f64)
      one.values<double>()[0] = 1.0;
    else
      one.values<float>()[0] = 1.f;
    seed = g.add_constant(std::move(one));
  }
  const std::size_t forward = g.nodes.size();
  const std::vector<bool> depends = dependants(g, wrt, forward);
  std::vector<ValueId> gradient_of(g.values.size(), no_value);
  gradient_of[static_cast<std::size_t>(loss)] = seed;

  for (std::size_t i = forward; i-- > 0;) {
    if (g.nodes[i].dead) continue;
    const Node node = g.nodes[i];  // a copy: rules append
    bool reached = false, wanted_any = false;
    for (const ValueId v : node.out) reached = reached || gradient_of[static_cast<std::size_t>(v)] != no_value;
    std::vector<bool> wanted;
    for (const ValueId v : node.in) {
      wanted.push_back(depends[static_cast<std::size_t>(v)]);
      wanted_any = wanted_any || wanted.back();
    }
    if (!reached || !wanted_any) continue;
    if (gradient_of[static_cast<std::size_t>(node.out[0])] == no_value &&
        !std::holds_alternative<op::CustomOp>(node.op))
      throw UsageError(fmt::format("[{}] only its first output has a gradient", op::name_of(node.op)));
    g.scope = node.scope.empty() ? "gradient" : node.scope + " gradient";
    Vjp rule(g, node, gradient_of);
    rule.set_wanted(std::move(wanted));
    vjp_node(node.op, rule);
    gradient_of.resize(g.values.size(), no_value);
  }
  g.scope.clear();
  std::vector<ValueId> result;
  for (const ValueId v : wrt) result.push_back(gradient_of[static_cast<std::size_t>(v)]);
  return result;
}

}  // namespace tenon
