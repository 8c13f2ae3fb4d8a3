// Which steps run in strips together, and the step that they become.
#include "lib/runtime/strips.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>

#include "lib/passes/passes.hpp"
#include "lib/runtime/run_strips.hpp"

namespace tenon {
namespace {

/// How the operations that run in strips treat the batch.
struct Roles {
  std::int32_t shared_in;  // the operand from which on the others are the same for every sample, and
  std::int32_t shared_end;
  bool sums;  // over the samples: results are not samples themselves
};
std::optional<Roles> roles_of(const op::AnyOp& any) {
  if (std::holds_alternative<op::Conv2d>(any)) return Roles{1, Problem::max_in, false};  // filter, bias
  if (std::holds_alternative<op::Conv2dGradInput>(any)) return Roles{1, 2, false};       // filter
  if (std::holds_alternative<op::Conv2dGradFilter>(any)) return Roles{0, 0, true};
  return std::nullopt;
}
bool is_shared(const Roles& r, std::size_t operand) {
  return static_cast<std::int32_t>(operand) >= r.shared_in && static_cast<std::int32_t>(operand) < r.shared_end;
}

class Joiner {
 public:
  Joiner(const Graph& g, const StripPolicy& policy, std::vector<BoundNode>& nodes)
      : g_(g), policy_(policy), nodes_(nodes), readers_(g.consumers()), outside_(read_outside(g)) {}

  void run() {
    std::vector<BoundNode> joined;
    for (std::size_t i = 0; i < nodes_.size();) {
      std::size_t end = run_from(i);
      if (end - i < 2 || !worth(i, end) || !join(i, end, joined)) {
        joined.push_back(std::move(nodes_[i]));
        end = i + 1;
      }
      i = end;
    }
    nodes_ = std::move(joined);
  }

 private:
  [[nodiscard]] const op::AnyOp& op(std::size_t i) const {
    return g_.nodes[static_cast<std::size_t>(nodes_[i].node)].op;
  }
  [[nodiscard]] std::int64_t batch(std::size_t i) const { return g_.spec(nodes_[i].in[0]).shape[0]; }

  /// The end of the longest run of steps from `i` that share samples, none of which reads a sum of another.
  [[nodiscard]] std::size_t run_from(std::size_t i) const {
    std::set<ValueId> samples, sums;
    std::size_t end = i;
    for (; end < nodes_.size(); ++end) {
      const BoundNode& b = nodes_[end];
      const std::optional<Roles> roles = roles_of(op(end));
      if (!roles || b.step.row->pieces != Pieces::samples || batch(end) != batch(i) || !policy_.fits(batch(end))) break;
      bool together = end == i, reads_sum = false;
      for (std::size_t k = 0; k < b.in.size(); ++k) {
        reads_sum = reads_sum || sums.contains(b.in[k]);
        if (!is_shared(*roles, k)) together = together || samples.contains(b.in[k]);
        // An operand that is the same for every sample cannot be made by the strips.
        reads_sum = reads_sum || (is_shared(*roles, k) && samples.contains(b.in[k]));
      }
      if (!together || reads_sum) break;
      for (std::size_t k = 0; k < b.in.size(); ++k)
        if (!is_shared(*roles, k)) samples.insert(b.in[k]);
      (roles->sums ? sums : samples).insert(b.out.begin(), b.out.end());
    }
    return end;
  }

  /// True for a value that nobody but the steps [begin, end) needs.
  [[nodiscard]] bool inside(ValueId v, std::size_t begin, std::size_t end) const {
    const Value& value = g_.values[static_cast<std::size_t>(v)];
    if (value.home.space != Space::arena || outside_[static_cast<std::size_t>(v)]) return false;
    const auto& readers = readers_[static_cast<std::size_t>(v)];
    return std::ranges::all_of(readers, [&](std::int32_t r) {
      return std::any_of(nodes_.begin() + static_cast<std::ptrdiff_t>(begin),
                         nodes_.begin() + static_cast<std::ptrdiff_t>(end),
                         [&](const BoundNode& b) { return b.node == r; });
    });
  }

  [[nodiscard]] bool worth(std::size_t begin, std::size_t end) const {
    std::int64_t bytes = 0;
    for (std::size_t i = begin; i < end; ++i)
      if (!roles_of(op(i))->sums)
        for (const ValueId v : nodes_[i].out)
          if (inside(v, begin, end)) bytes += static_cast<std::int64_t>(g_.spec(v).bytes());
    return bytes >= policy_.least_bytes;
  }

  /// The node's kernel for so many samples, on one thread.
  [[nodiscard]] std::optional<Step> bind(const BoundNode& b, std::int64_t samples) const {
    const Node& node = g_.nodes[static_cast<std::size_t>(b.node)];
    std::vector<TensorSpec> specs = g_.specs(node.in);
    const Roles roles = *roles_of(node.op);
    for (std::size_t k = 0; k < specs.size(); ++k)
      if (!is_shared(roles, k)) specs[k].shape = with_samples(specs[k].shape, samples);
    Problem problem = make_problem(node.op, specs);
    problem.threads = 1;
    Bound bound = b.step.row->bind(problem, *b.step.row);
    if (auto* step = std::get_if<Step>(&bound)) return std::move(*step);
    return std::nullopt;
  }
  static Shape with_samples(const Shape& s, std::int64_t samples) {
    std::vector<std::int64_t> extents(s.extents().begin(), s.extents().end());
    extents[0] = samples;
    return Shape(extents);
  }

  bool join(std::size_t begin, std::size_t end, std::vector<BoundNode>& joined) {
    const std::int64_t n = batch(begin), rest = n % policy_.samples;
    StripRun run{.samples = policy_.samples, .count = (n + policy_.samples - 1) / policy_.samples};
    BoundNode one;
    std::map<ValueId, StripOperand> inner;
    std::int64_t kernels = 0;  // the most workspace that one of them needs
    const auto bytes_of = [&](ValueId v) { return static_cast<std::int64_t>(g_.spec(v).bytes()); };
    const auto number = [](std::vector<ValueId>& list, ValueId v) {
      const std::int64_t at = std::ranges::find(list, v) - list.begin();
      if (at == static_cast<std::int64_t>(list.size())) list.push_back(v);
      return at;
    };
    for (std::size_t i = begin; i < end; ++i) {
      const BoundNode& b = nodes_[i];
      const Roles roles = *roles_of(op(i));
      std::optional<Step> whole = bind(b, policy_.samples), tail = rest > 0 ? bind(b, rest) : whole;
      if (!whole || !tail) return false;
      StripStep s{*whole, *tail, {}, {}};
      for (std::size_t k = 0; k < b.in.size(); ++k) {
        const ValueId v = b.in[k];
        if (const auto made = inner.find(v); made != inner.end()) {
          s.in.push_back(made->second);
          continue;
        }
        const std::int64_t each = is_shared(roles, k) ? 0 : bytes_of(v) / n * policy_.samples;
        const auto result = std::ranges::find(one.out, v);  // made by a step before, and read elsewhere too
        if (result != one.out.end())
          s.in.push_back({StripOperand::Space::out, result - one.out.begin(), each});
        else
          s.in.push_back({StripOperand::Space::in, number(one.in, v), each});
      }
      for (const ValueId v : b.out) {
        if (roles.sums) {
          s.out.push_back({StripOperand::Space::sums, run.sum_bytes, 0});
          run.sums.push_back({number(one.out, v), run.sum_bytes, bytes_of(v)});
          run.sum_bytes += aligned(bytes_of(v));
        } else if (inside(v, begin, end)) {
          const StripOperand place{StripOperand::Space::scratch, run.scratch_bytes, 0};
          run.scratch_bytes += aligned(bytes_of(v) / n * policy_.samples);
          inner[v] = place;
          s.out.push_back(place);
        } else {
          s.out.push_back({StripOperand::Space::out, number(one.out, v), bytes_of(v) / n * policy_.samples});
        }
      }
      kernels = std::max(kernels, aligned(static_cast<std::int64_t>(std::max(whole->workspace, tail->workspace))));
      run.steps.push_back(std::move(s));
    }
    if (one.in.size() > Problem::max_in || one.out.size() > StripRun::max_out) return false;
    run.workspace_at = run.scratch_bytes;
    run.scratch_bytes += kernels;
    describe(begin, end, one);
    const std::int64_t workspace = run.sum_bytes * run.count + run.scratch_bytes * policy_.threads;
    one.step.step = {run_strips, std::make_shared<const StripRun>(std::move(run)), static_cast<std::size_t>(workspace)};
    joined.push_back(std::move(one));
    return true;
  }
  static std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

  /// The step as tables show it: by its last kernel, with what all of them do and what crosses memory.
  void describe(std::size_t begin, std::size_t end, BoundNode& one) const {
    const BoundNode& last = nodes_[end - 1];
    one.node = last.node;
    one.step.row = last.step.row;
    one.step.op = last.step.op + " +" + std::to_string(end - begin - 1);
    one.step.scope = last.step.scope;
    one.step.result = last.step.result;
    double most = -1;
    one.step.control = ControlUse::none;
    for (std::size_t i = begin; i < end; ++i) {
      one.step.control = both(one.step.control, nodes_[i].step.control);
      one.step.cost.flops += nodes_[i].step.cost.flops;
      // The kernel that does most stands for all.
      if (nodes_[i].step.cost.flops > most) {
        most = nodes_[i].step.cost.flops;
        one.step.row = nodes_[i].step.row;
      }
    }
    for (const auto* list : {&one.in, &one.out})
      for (const ValueId v : *list) one.step.cost.bytes += static_cast<double>(g_.spec(v).bytes());
  }

  const Graph& g_;
  const StripPolicy& policy_;
  std::vector<BoundNode>& nodes_;
  std::vector<std::vector<std::int32_t>> readers_;
  std::vector<bool> outside_;
};

}  // namespace

void join_strips(const Graph& g, const StripPolicy& policy, std::vector<BoundNode>& nodes) {
  Joiner(g, policy, nodes).run();
}

}  // namespace tenon
