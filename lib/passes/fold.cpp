// fold: nodes whose operands are all constants run once, while compiling: the gradient of a mean starts as 1, is divided
// by a count and spread, and none of that depends on the data.
#include "lib/passes/passes.hpp"
#include "lib/runtime/run_graph.hpp"

namespace tenon {
namespace {

constexpr std::int64_t most_elements = 1 << 16;

bool foldable(const Graph& g, const Node& node) {
  if (node.dead || node.out.empty()) return false;
  const bool pure = std::visit([](const auto& o) { return op::Differentiable<std::decay_t<decltype(o)>>; }, node.op);
  if (!pure || std::holds_alternative<op::Dropout>(node.op) || std::holds_alternative<op::CustomOp>(node.op))
    return false;
  for (const ValueId v : node.in)
    if (g.values[static_cast<std::size_t>(v)].home.space != Space::constant) return false;
  for (const ValueId v : node.out) {
    const Value& out = g.values[static_cast<std::size_t>(v)];
    if (out.spec.shape.elements() > most_elements || out.home.space != Space::arena) return false;
  }
  return true;
}

}  // namespace

void fold(Graph& g) {
  for (std::size_t i = 0; i < g.nodes.size(); ++i) {
    if (!foldable(g, g.nodes[i])) continue;
    Graph one;
    std::vector<ValueId> in;
    for (const ValueId v : g.nodes[i].in)
      in.push_back(
          one.add_constant(g.constants[static_cast<std::size_t>(g.values[static_cast<std::size_t>(v)].home.offset)]));
    const std::vector<ValueId> out = one.append(g.nodes[i].op, in);
    Options options;
    options.providers = "reference";
    options.threads = 1;
    options.dtype = g.dtype;
    const std::vector<Array> values = run_graph(one, out, {}, options);
    for (std::size_t o = 0; o < out.size(); ++o) {
      g.constants.push_back(values[o]);
      Value& v = g.values[static_cast<std::size_t>(g.nodes[i].out[o])];
      v.producer = -1;
      v.home = {Space::constant, static_cast<std::int64_t>(g.constants.size()) - 1};
    }
    g.nodes[i].dead = true;
  }
}

}  // namespace tenon
