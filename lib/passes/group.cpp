// group: one kernel claims a connected set of pointwise nodes whose inner values nobody else reads, so that those never
// touch memory. A set grows backwards from the one value that leaves it; the node that made that value becomes the
// chain, so that every operand is there when it runs.
#include <algorithm>
#include <set>

#include "lib/passes/passes.hpp"

namespace tenon {
namespace {

using op::PointwiseChain;

bool pointwise(const op::AnyOp& any) {
  return std::holds_alternative<op::Unary>(any) || std::holds_alternative<op::UnaryGrad>(any) ||
         std::holds_alternative<op::Binary>(any);
}

PointwiseChain::Instruction instruction(const op::AnyOp& any) {
  using Form = PointwiseChain::Form;
  if (const auto* u = std::get_if<op::Unary>(&any))
    return {Form::unary, static_cast<std::uint8_t>(u->fn), 0, 0, u->alpha, u->beta};
  if (const auto* g = std::get_if<op::UnaryGrad>(&any))
    return {Form::unary_grad, static_cast<std::uint8_t>(g->forward.fn), 0, 0, g->forward.alpha, g->forward.beta};
  return {Form::binary, static_cast<std::uint8_t>(std::get<op::Binary>(any).fn), 0, 0, 0.f, 0.f};
}

class Grouper {
 public:
  Grouper(Graph& g, const RowSet& rows) : g_(g), rows_(rows), readers_(g.consumers()), outside_(read_outside(g)) {}

  void run() {
    // From the back: a value that cannot be inside a set ends one of its own.
    for (std::size_t i = g_.nodes.size(); i-- > 0;) {
      if (!eligible(g_.nodes[i])) continue;
      const std::vector<std::int32_t> members = grow(static_cast<std::int32_t>(i));
      if (members.size() > 1) claim(members);
    }
  }

 private:
  /// A pointwise node whose operands are as long as its result, or a single value.
  [[nodiscard]] bool eligible(const Node& n) const {
    if (n.dead || !pointwise(n.op)) return false;
    return std::ranges::all_of(n.in, [&](ValueId v) { return elements(v) == elements(n.out[0]) || elements(v) == 1; });
  }
  [[nodiscard]] std::int64_t elements(ValueId v) const { return g_.spec(v).shape.elements(); }

  /// The nodes of the set that ends in `last`, in the order of the list.
  [[nodiscard]] std::vector<std::int32_t> grow(std::int32_t last) const {
    std::set<std::int32_t> members{last}, pending;
    std::set<ValueId> operands;
    const std::string_view provider = provider_of(node(last));
    const auto expand = [&](std::int32_t i) {
      for (const ValueId v : node(i).in) {
        operands.insert(v);
        if (value(v).producer >= 0) pending.insert(value(v).producer);
      }
    };
    expand(last);
    // The latest first: its readers come behind it, so whether they belong to the set is known.
    while (!pending.empty() && members.size() < PointwiseChain::max_count) {
      const std::int32_t i = *pending.rbegin();
      pending.erase(i);
      if (!may_join(i, members, node(last))) continue;
      std::set<ValueId> after = operands;
      after.erase(node(i).out[0]);
      after.insert(node(i).in.begin(), node(i).in.end());
      if (after.size() > PointwiseChain::max_operands || provider_of(node(i)) != provider ||
          overtaken(i, last, members))
        continue;
      members.insert(i);
      operands.erase(node(i).out[0]);
      expand(i);
    }
    return {members.begin(), members.end()};
  }

  /// True where every reader of the node's value is in the set, and the node works on the set's elements.
  [[nodiscard]] bool may_join(std::int32_t i, const std::set<std::int32_t>& members, const Node& last) const {
    const Node& n = node(i);
    if (!eligible(n) || elements(n.out[0]) != elements(last.out[0])) return false;
    const Value& v = value(n.out[0]);
    if (outside_[static_cast<std::size_t>(n.out[0])] || v.home.space != Space::arena) return false;
    const auto& readers = readers_[static_cast<std::size_t>(n.out[0])];
    return std::ranges::all_of(readers, [&](std::int32_t r) { return members.contains(r); });
  }

  /// A chain runs where its last node stood: true where a node in between overwrites what node `i` reads.
  [[nodiscard]] bool overtaken(std::int32_t i, std::int32_t last, const std::set<std::int32_t>& members) const {
    for (std::int32_t between = i + 1; between < last; ++between) {
      if (node(between).dead || members.contains(between)) continue;
      for (const ValueId written : node(between).out)
        for (const ValueId read : node(i).in)
          if (overlap(value(written), value(g_.storage(read)))) return true;
    }
    return false;
  }

  static bool overlap(const Value& a, const Value& b) {
    // The arena is laid out later, by lifetimes.
    if (a.home.space == Space::arena || a.home.space != b.home.space) return false;
    const auto end = [](const Value& v) { return v.home.offset + static_cast<std::int64_t>(v.spec.bytes()); };
    return a.home.offset < end(b) && b.home.offset < end(a);
  }

  /// Who runs the node by itself. A chain must run there too: the user may have named a provider for one function.
  [[nodiscard]] std::string_view provider_of(const Node& n) const {
    return rows_.bind(make_problem(n.op, g_.specs(n.in)), n.op).row->provider;
  }

  void claim(const std::vector<std::int32_t>& members) {
    PointwiseChain chain;
    std::vector<ValueId> operands, results;
    for (const std::int32_t i : members)
      for (const ValueId v : node(i).in)
        if (std::ranges::find(operands, v) == operands.end() && !made_by(v, members)) operands.push_back(v);
    const auto number = [&](ValueId v) {
      const auto result = std::ranges::find(results, v);
      if (result != results.end())
        return static_cast<std::uint8_t>(PointwiseChain::max_operands + (result - results.begin()));
      return static_cast<std::uint8_t>(std::ranges::find(operands, v) - operands.begin());
    };
    for (const std::int32_t i : members) {
      PointwiseChain::Instruction x = instruction(node(i).op);
      x.a = number(node(i).in[0]);
      x.b = number(node(i).in[x.arity() == 2 ? 1 : 0]);
      chain.code[chain.count++] = x;
      results.push_back(node(i).out[0]);
    }
    const Problem problem = make_problem(chain, g_.specs(operands));
    Node& last = g_.nodes[static_cast<std::size_t>(members.back())];
    if (!rows_.accepts(problem, chain) || rows_.bind(problem, chain).row->provider != provider_of(last)) return;
    for (const std::int32_t i : members) g_.nodes[static_cast<std::size_t>(i)].dead = i != members.back();
    last.op = chain;
    last.in = operands;
  }

  [[nodiscard]] bool made_by(ValueId v, const std::vector<std::int32_t>& members) const {
    return std::ranges::binary_search(members, value(v).producer);
  }

  [[nodiscard]] const Node& node(std::int32_t i) const { return g_.nodes[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const Value& value(ValueId v) const { return g_.values[static_cast<std::size_t>(v)]; }

  Graph& g_;
  const RowSet& rows_;
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<bool> outside_;
};

}  // namespace

void group(Graph& g, const RowSet& rows) { Grouper(g, rows).run(); }

}  // namespace tenon
