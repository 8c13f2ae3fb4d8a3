// The graph and the handles into it.
#include "tenon/graph.hpp"

#include <fmt/format.h>

#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon {

const Shape& Tensor::shape() const { return graph().spec(id_).shape; }
DType Tensor::dtype() const { return graph().spec(id_).dtype; }

Graph& Tensor::graph() const {
  if (graph_ == nullptr) throw UsageError("[tensor] expected a tensor of a graph, found an empty handle");
  return *graph_;
}

Tensor Values::operator[](std::string_view name) const {
  for (const auto& [key, tensor] : items_)
    if (key == name) return tensor;
  std::vector<std::string> names;
  for (const auto& item : items_) names.push_back(item.first);
  throw UsageError(fmt::format("[values] no '{}' among: {}", name, fmt::join(names, ", ")));
}

Tensor Values::only() const {
  if (items_.size() != 1) throw UsageError(fmt::format("[values] expected one value, found {}", items_.size()));
  return items_[0].second;
}

bool Values::contains(std::string_view name) const noexcept {
  for (const auto& item : items_)
    if (item.first == name) return true;
  return false;
}

const char* name_of(Space space) {
  switch (space) {
    case Space::arena:
      return "arena";
    case Space::input:
      return "input";
    case Space::constant:
      return "constant";
    case Space::parameters:
      return "parameters";
    case Space::gradients:
      return "gradients";
    case Space::accumulated:
      return "accumulated";
    case Space::state0:
      return "state0";
    case Space::state1:
      return "state1";
    case Space::state2:
      return "state2";
  }
  return "?";
}

std::vector<TensorSpec> Graph::specs(const std::vector<ValueId>& ids) const {
  std::vector<TensorSpec> out;
  out.reserve(ids.size());
  for (const ValueId id : ids) out.push_back(spec(id));
  return out;
}

ValueId Graph::add_value(TensorSpec spec, Home home, std::string name) {
  values.push_back({spec, -1, home, std::move(name)});
  return static_cast<ValueId>(values.size()) - 1;
}

ValueId Graph::add_constant(Array data) {
  const TensorSpec spec = data.spec();
  constants.push_back(std::move(data));
  return add_value(spec, {Space::constant, static_cast<std::int64_t>(constants.size()) - 1});
}

Tensor Graph::input(std::string name, TensorSpec spec) {
  return {this, add_value(spec, {Space::input, input_count_++}, std::move(name))};
}

std::vector<ValueId> Graph::append(op::AnyOp op, std::vector<ValueId> in) {
  SpecList out_specs;
  try {
    out_specs = infer_node(op, specs(in));
  } catch (const UsageError& e) {
    if (scope.empty()) throw;
    throw UsageError(fmt::format("{} in {}", e.what(), scope));
  }
  const auto node = static_cast<std::int32_t>(nodes.size());
  std::vector<ValueId> out;
  for (const TensorSpec& s : out_specs) {
    out.push_back(add_value(s, {}));
    values.back().producer = node;
  }
  nodes.push_back({std::move(op), std::move(in), out, scope});
  return out;
}

ValueId Graph::storage(ValueId v) const {
  for (;;) {
    const std::int32_t p = values[static_cast<std::size_t>(v)].producer;
    if (p < 0 || !std::holds_alternative<op::Reshape>(nodes[static_cast<std::size_t>(p)].op)) return v;
    v = nodes[static_cast<std::size_t>(p)].in[0];
  }
}

std::vector<std::vector<std::int32_t>> Graph::consumers() const {
  std::vector<std::vector<std::int32_t>> readers(values.size());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (!nodes[i].dead)
      for (const ValueId v : nodes[i].in) readers[static_cast<std::size_t>(v)].push_back(static_cast<std::int32_t>(i));
  return readers;
}

std::string to_string(const Graph& g) {
  std::string text;
  for (std::size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    if (n.dead) continue;
    std::vector<std::string> outs;
    for (const ValueId v : n.out) outs.push_back(fmt::format("%{} {}", v, g.spec(v).str()));
    text += fmt::format("{:4}  {:<26} {} <- %{}   {}\n", i, op::name_of(n.op), fmt::join(outs, ", "),
                        fmt::join(n.in, " %"), n.scope);
  }
  return text;
}

}  // namespace tenon
