// prune: a node lives when a role, a write or a live node needs it. One sweep backwards over the list.
#include "lib/passes/passes.hpp"

namespace tenon {
namespace {

/// Nodes that act by what they write outside the arena: updates, assignments, gradients that the optimizer reads.
bool writes_outside(const Graph& g, const Node& node) {
  const bool update = std::visit([](const auto& o) { return op::Update<std::decay_t<decltype(o)>>; }, node.op);
  if (update) return true;
  for (const ValueId v : node.out)
    if (g.values[static_cast<std::size_t>(v)].home.space != Space::arena) return true;
  return false;
}

}  // namespace

std::vector<bool> read_outside(const Graph& g) {
  std::vector<bool> read(g.values.size());
  const auto mark = [&](ValueId v) {
    if (v != no_value) read[static_cast<std::size_t>(v)] = true;
  };
  mark(g.loss);
  for (const auto* roles : {&g.outputs, &g.metrics, &g.observed})
    for (const Role& r : *roles) mark(r.value);
  for (const auto& [state, value] : g.assignments) {
    mark(state);
    mark(value);
  }
  return read;
}

void prune(Graph& g) {
  std::vector<bool> needed = read_outside(g);
  for (std::size_t i = g.nodes.size(); i-- > 0;) {
    Node& node = g.nodes[i];
    if (node.dead) continue;
    bool live = writes_outside(g, node);
    for (const ValueId v : node.out) live = live || needed[static_cast<std::size_t>(v)];
    node.dead = !live;
    if (live)
      for (const ValueId v : node.in) needed[static_cast<std::size_t>(v)] = true;
  }
}

}  // namespace tenon
