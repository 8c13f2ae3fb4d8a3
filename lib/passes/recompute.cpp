// recompute: a convolution of a few terms takes less time than fetching what it made out of memory. Where its result is
// large and gradients read it, they get a copy of the node that runs right before them, so that both copies can run in
// strips with their readers (lib/runtime/strips.hpp) and neither result ever is in memory as a whole. The same bits: it
// is the same computation.
#include <algorithm>

#include "lib/passes/passes.hpp"

namespace tenon {
namespace {

constexpr std::int64_t most_terms = 16;

bool is_gradient(const op::AnyOp& any) {
  return std::visit([]<class T>(const T&) { return op::Gradient<T>; }, any);
}

class Recomputer {
 public:
  Recomputer(Graph& g, const RowSet& rows, const StripPolicy& policy) : g_(g), rows_(rows), policy_(policy) {}

  void run() {
    for (std::size_t i = 0; i < g_.nodes.size(); ++i)
      if (cheap(g_.nodes[i])) split(static_cast<std::int32_t>(i));
  }

 private:
  [[nodiscard]] const Node& node(std::int32_t i) const { return g_.nodes[static_cast<std::size_t>(i)]; }

  /// True where the row that runs the node can do so in strips.
  [[nodiscard]] bool strips(const Node& n) const {
    return rows_.bind(make_problem(n.op, g_.specs(n.in)), n.op).row->pieces == Pieces::samples;
  }

  [[nodiscard]] bool cheap(const Node& n) const {
    const auto* c = n.dead ? nullptr : std::get_if<op::Conv2d>(&n.op);
    if (c == nullptr || n.out.size() != 1) return false;  // a mask is drawn once
    const TensorSpec& y = g_.spec(n.out[0]);
    return policy_.fits(y.shape[0]) && static_cast<std::int64_t>(y.bytes()) >= policy_.least_bytes &&
           g_.spec(n.in[1]).shape.product(0, 3) <= most_terms &&
           g_.values[static_cast<std::size_t>(n.out[0])].home.space == Space::arena;
  }

  void split(std::int32_t i) {
    const ValueId y = node(i).out[0];
    const std::vector<std::int32_t> readers = g_.consumers()[static_cast<std::size_t>(y)];
    const auto first = std::ranges::find_if(readers, [&](std::int32_t r) { return is_gradient(node(r).op); });
    if (first == readers.begin() || first == readers.end() || read_outside(g_)[static_cast<std::size_t>(y)]) return;
    if (!strips(node(i)) || !std::ranges::all_of(readers, [&](std::int32_t r) { return strips(node(r)); })) return;
    const ValueId copy = insert_copy(i, *first);
    for (Node& n : g_.nodes)
      if (is_gradient(n.op)) std::ranges::replace(n.in, y, copy);
  }

  /// Puts a copy of node `i` where node `at` stands, and returns its result.
  ValueId insert_copy(std::int32_t i, std::int32_t at) {
    Node copy = node(i);
    const ValueId y = g_.add_value(g_.spec(copy.out[0]), {});
    copy.out = {y};
    for (Value& v : g_.values)
      if (v.producer >= at) ++v.producer;
    g_.values[static_cast<std::size_t>(y)].producer = at;
    g_.nodes.insert(g_.nodes.begin() + at, std::move(copy));
    return y;
  }

  Graph& g_;
  const RowSet& rows_;
  const StripPolicy& policy_;
};

}  // namespace

void recompute(Graph& g, const RowSet& rows, const StripPolicy& policy) { Recomputer(g, rows, policy).run(); }

}  // namespace tenon
