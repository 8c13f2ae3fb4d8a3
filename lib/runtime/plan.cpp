// From a graph to a plan: bind a row for each live node, then give every intermediate its place.
#include "lib/runtime/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/ops/attributes.hpp"
#include "lib/runtime/memory.hpp"
#include "lib/runtime/strips.hpp"
#include "lib/runtime/tune.hpp"
#include "lib/runtime/updates.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

using detail::log;
using detail::verbose;

BoundNode bind_node(const Graph& g, std::int32_t number, const RowSet& rows, Tuner* tuner) {
  const Node& node = g.nodes[static_cast<std::size_t>(number)];
  const Problem problem = make_problem(node.op, g.specs(node.in));
  Match m = tuner != nullptr ? tuner->bind(problem, node.op) : rows.bind(problem, node.op);
  PlanStep s;
  s.op = op::name_of(node.op);
  s.scope = node.scope;
  s.row = m.row;
  s.owned_row = m.owned_row;
  s.step = std::move(m.step);
  s.result = node.out.empty() ? g.spec(node.in[0]) : g.spec(node.out[0]);
  s.control = control_use(node.op);
  s.cost = cost_node(node.op, g.specs(node.in), g.specs(node.out));
  if (verbose("dispatch")) {
    log(LogLevel::info, fmt::format("dispatch: {} -> {}", text_of(problem, node.op), row_name(*s.row)));
    for (const std::string& why : m.refusals) log(LogLevel::info, "          " + why);
  }
  if (m.stands_in || (s.row->naive && !rows.named())) {
    // Once a process for each op and row: the message is about speed, not about this call.
    static std::set<std::string> warned;
    const std::string text = fmt::format("[{}] runs on {}: {}", s.op, s.row->provider,
                                         m.refusals.empty() ? "the provider that was named has no row for it"
                                                            : fmt::format("{}", fmt::join(m.refusals, "; ")));
    if (warned.insert(text).second) log(LogLevel::warning, text);
  }
  return {number, std::move(s), node.in, node.out};
}

/// Lifetimes of everything in the arena, in step numbers.
class Layout {
 public:
  Layout(const Graph& g, Plan& plan) : g_(g), plan_(plan) {}

  /// Moves the steps into the plan.
  void run(std::vector<BoundNode> nodes) {
    const auto end = static_cast<std::int32_t>(nodes.size());
    std::vector<std::size_t> workspace(nodes.size());
    for (std::int32_t i = 0; i < end; ++i) {
      const BoundNode& b = nodes[static_cast<std::size_t>(i)];
      for (const auto* list : {&b.in, &b.out})
        for (const ValueId v : *list) touch(v, i);
      workspace[static_cast<std::size_t>(i)] = buffers_.size();
      if (b.step.step.workspace > 0) buffers_.push_back({static_cast<std::int64_t>(b.step.step.workspace), i, i, 0});
    }
    // Values read from outside stay until the end.
    const auto keep = [&](ValueId v) {
      if (v != no_value) touch(v, end);
    };
    keep(g_.loss);
    for (const auto* roles : {&g_.outputs, &g_.metrics, &g_.observed})
      for (const Role& r : *roles) keep(r.value);
    plan_.arena_bytes = place_buffers(buffers_);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      PlanStep& s = nodes[i].step;
      for (const ValueId v : nodes[i].in) {
        s.in.push_back(home(v));
        s.in_bytes.push_back(static_cast<std::int64_t>(g_.spec(v).bytes()));
      }
      for (const ValueId v : nodes[i].out) {
        s.out.push_back(home(v));
        s.out_bytes.push_back(static_cast<std::int64_t>(g_.spec(v).bytes()));
        s.result_bytes += s.out_bytes.back();
      }
      if (s.step.workspace > 0) s.workspace = buffers_[workspace[i]].offset;
      plan_.steps.push_back(std::move(s));
    }
  }

  [[nodiscard]] Home home(ValueId v) const {
    v = g_.storage(v);
    const Value& value = g_.values[static_cast<std::size_t>(v)];
    if (value.home.space != Space::arena) return value.home;
    return {Space::arena, buffers_[buffer_of_.at(v)].offset};
  }

 private:
  void touch(ValueId v, std::int32_t step) {
    v = g_.storage(v);
    const Value& value = g_.values[static_cast<std::size_t>(v)];
    if (value.home.space != Space::arena) return;
    const auto [it, fresh] = buffer_of_.try_emplace(v, buffers_.size());
    if (fresh) buffers_.push_back({static_cast<std::int64_t>(value.spec.bytes()), step, step, 0});
    Buffer& b = buffers_[it->second];
    b.first = std::min(b.first, step);
    b.last = std::max(b.last, step);
  }

  const Graph& g_;
  Plan& plan_;
  std::vector<Buffer> buffers_;
  std::map<ValueId, std::size_t> buffer_of_;
};

}  // namespace

Plan make_plan(const Graph& g, const RowSet& rows, Tuner* tuner, const StripPolicy* strips) {
  Plan plan;
  plan.constants = g.constants;
  plan.input_bytes.resize(static_cast<std::size_t>(g.inputs()));
  for (const Value& v : g.values)
    if (v.home.space == Space::input && v.producer < 0)
      plan.input_bytes[static_cast<std::size_t>(v.home.offset)] = static_cast<std::int64_t>(v.spec.bytes());
  std::vector<BoundNode> nodes;
  for (std::size_t n = 0; n < g.nodes.size(); ++n)
    // A reshape has no kernel: its output is its operand's memory.
    if (!g.nodes[n].dead && !std::holds_alternative<op::Reshape>(g.nodes[n].op))
      nodes.push_back(bind_node(g, static_cast<std::int32_t>(n), rows, tuner));
  if (tuner != nullptr) tuner->save();
  if (strips != nullptr) {
    join_strips(g, *strips, nodes);
    join_updates(g, nodes);
  }
  Layout layout(g, plan);
  layout.run(std::move(nodes));
  const auto readable = [&](const std::string& name, ValueId v) { return Readable{name, g.spec(v), layout.home(v)}; };
  if (g.loss != no_value) plan.loss = readable("loss", g.loss);
  for (const Role& r : g.outputs) plan.outputs.push_back(readable(r.name, r.value));
  for (const Role& r : g.metrics) plan.metrics.push_back(readable(r.name, r.value));
  for (const Role& r : g.observed) plan.observed.push_back(readable(r.name, r.value));
  if (verbose("plan")) log(LogLevel::info, plan.table());
  return plan;
}

}  // namespace tenon
