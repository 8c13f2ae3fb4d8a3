// fuse: conv2d or matmul absorbs bias -> activation -> 2x2 max-pool -> dropout, in that order, from values that nobody
// else reads. The fused node takes the place of the first one, so the list stays topologically ordered. What to absorb
// is decided by the rows: the longest chain of which every op, forward and gradient, is taken by a row.
#include "lib/passes/passes.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"

namespace tenon {
namespace {

/// One way to fuse: the epilogue, the operands that it adds, and the nodes that go.
struct Chain {
  op::Epilogue epilogue;
  std::vector<ValueId> extra;
  std::vector<std::int32_t> absorbed;
  ValueId result = no_value;
};

class Fuser {
 public:
  Fuser(Graph& g, const RowSet& rows) : g_(g), rows_(rows), readers_(g.consumers()), read_outside_(read_outside(g)) {}

  void run() {
    for (std::size_t i = 0; i < g_.nodes.size(); ++i) {
      if (g_.nodes[i].dead) continue;
      if (std::holds_alternative<op::Conv2d>(g_.nodes[i].op)) fuse_node<op::Conv2d>(static_cast<std::int32_t>(i));
      if (std::holds_alternative<op::MatMul>(g_.nodes[i].op)) fuse_node<op::MatMul>(static_cast<std::int32_t>(i));
    }
  }

 private:
  /// The only reader of a value, or -1.
  [[nodiscard]] std::int32_t only_reader(ValueId v) const {
    const auto& readers = readers_[static_cast<std::size_t>(v)];
    return readers.size() == 1 && !read_outside_[static_cast<std::size_t>(v)] ? readers[0] : -1;
  }

  /// Every prefix of the chain behind `first`, shortest first.
  [[nodiscard]] std::vector<Chain> chains(std::int32_t first) const {
    std::vector<Chain> found;
    Chain c;
    ValueId v = node(first).out[0];
    int stage = 0;  // 1 bias, 2 activation, 3 pool, 4 dropout
    for (std::int32_t r = only_reader(v); r >= 0; r = only_reader(v)) {
      const Node& next = node(r);
      const int stage_of_next = extend(c, next, v, first);
      if (stage_of_next <= stage) break;
      stage = stage_of_next;
      c.absorbed.push_back(r);
      c.result = v = next.out[0];
      found.push_back(c);
    }
    return found;
  }

  /// Adds `next` to the epilogue; 0 where it does not belong there.
  int extend(Chain& c, const Node& next, ValueId v, std::int32_t first) const {
    if (std::holds_alternative<op::BiasAdd>(next.op)) {
      const std::int32_t producer = g_.values[static_cast<std::size_t>(next.in[1])].producer;
      if (next.in[0] != v || producer >= first) return 0;  // the bias must be there when the conv runs
      c.epilogue.bias = true;
      c.extra = {next.in[1]};
      return 1;
    }
    if (const auto* u = std::get_if<op::Unary>(&next.op)) {
      const bool fits = u->fn != op::UnaryFn::identity && u->fn != op::UnaryFn::exp && u->fn != op::UnaryFn::sqrt;
      if (!fits || !op::unary_gradient_reads_output(u->fn)) return 0;
      c.epilogue.activation = u->fn;
      c.epilogue.alpha = u->alpha;
      return 2;
    }
    const bool masked = c.epilogue.activation == op::UnaryFn::relu;
    if (const auto* p = std::get_if<op::Pool2d>(&next.op)) {
      const bool fits =
          masked && p->fn == op::PoolFn::max && p->window == Hw{2, 2} && p->stride == Hw{2, 2} && p->pad == op::Pad{};
      if (!fits || !readers_[static_cast<std::size_t>(next.out[1])].empty()) return 0;
      c.epilogue.pool = true;
      return 3;
    }
    if (const auto* d = std::get_if<op::Dropout>(&next.op)) {
      if (!masked && c.epilogue.activation != op::UnaryFn::identity) return 0;
      if (!readers_[static_cast<std::size_t>(next.out[1])].empty()) return 0;
      c.epilogue.dropout = d->rate;
      c.epilogue.site = d->site;
      return 4;
    }
    return 0;
  }

  template <class T>
  void fuse_node(std::int32_t first) {
    std::vector<Chain> found = chains(first);
    for (std::size_t i = found.size(); i-- > 0;) {
      T fused = std::get<T>(node(first).op);
      if (fused.epilogue.any()) return;  // the user's own fused op
      fused.epilogue = found[i].epilogue;
      std::vector<ValueId> in = node(first).in;
      in.insert(in.end(), found[i].extra.begin(), found[i].extra.end());
      if (accepted(fused, in)) return replace(first, fused, in, found[i]);
    }
  }

  /// True where the rows take the op and, in training, every gradient op that its vjp emits.
  [[nodiscard]] bool accepted(const op::AnyOp& fused, const std::vector<ValueId>& in) const {
    const std::vector<TensorSpec> specs = g_.specs(in);
    try {
      if (!rows_.accepts(make_problem(fused, specs), fused)) return false;
    } catch (const UsageError&) {
      return false;  // an epilogue that the op cannot have
    }
    if (!g_.training) return true;
    Graph scratch;
    std::vector<ValueId> operands;
    for (const TensorSpec& s : specs) operands.push_back(scratch.input("x", s).id());
    scratch.append(fused, operands);
    std::vector<ValueId> gradient_of(scratch.values.size(), no_value);
    const ValueId y = scratch.nodes[0].out[0];
    const ValueId gy = scratch.input("gy", scratch.spec(y)).id();
    gradient_of.resize(scratch.values.size(), no_value);
    gradient_of[static_cast<std::size_t>(y)] = gy;
    Vjp v(scratch, scratch.nodes[0], gradient_of);
    vjp_node(fused, v);
    for (std::size_t i = 1; i < scratch.nodes.size(); ++i) {
      const Node& n = scratch.nodes[i];
      if (!rows_.accepts(make_problem(n.op, scratch.specs(n.in)), n.op)) return false;
    }
    return true;
  }

  void replace(std::int32_t first, const op::AnyOp& fused, const std::vector<ValueId>& in, const Chain& chain) {
    const SpecList specs = infer_node(fused, g_.specs(in));
    std::vector<ValueId> out{chain.result};
    if (specs.size() > 1) out.push_back(g_.add_value(specs[1], {}));
    for (const ValueId v : out) g_.values[static_cast<std::size_t>(v)].producer = first;
    for (const std::int32_t dead : chain.absorbed) g_.nodes[static_cast<std::size_t>(dead)].dead = true;
    Node& n = g_.nodes[static_cast<std::size_t>(first)];
    n.op = fused;
    n.in = in;
    n.out = out;
    readers_ = g_.consumers();
    read_outside_.resize(g_.values.size());
  }

  [[nodiscard]] const Node& node(std::int32_t i) const { return g_.nodes[static_cast<std::size_t>(i)]; }

  Graph& g_;
  const RowSet& rows_;
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<bool> read_outside_;
};

}  // namespace

void fuse(Graph& g, const RowSet& rows) { Fuser(g, rows).run(); }

}  // namespace tenon
