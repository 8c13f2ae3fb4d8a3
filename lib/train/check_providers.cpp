// check_providers: every row that takes a problem, compared with the reference in f64 and, where the row is canonical, bit
// for bit with the reference in f32.
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "lib/passes/passes.hpp"
#include "lib/runtime/run_graph.hpp"
#include "lib/train/row_check.hpp"
#include "tenon/custom_op.hpp"
#include "tenon/error.hpp"
#include "tenon/gradcheck.hpp"
#include "tenon/ops.hpp"

namespace tenon {
namespace {

/// The table's rows of an operation, after the user's own.
std::vector<Kernel> rows_of(const op::AnyOp& any) {
  std::vector<Kernel> rows;
  if (const auto* custom = std::get_if<op::CustomOp>(&any))
    for (const CustomKernel& k : custom->def->kernels)
      rows.push_back({op::kind(any), k.provider, false, false, {}, k.bind, nullptr});
  for (const Kernel& row : backend("cpu").kernels())
    if (row.op == op::kind(any)) rows.push_back(row);
  return rows;
}

class Checker {
 public:
  explicit Checker(const ProviderCheckOptions& o) : options_(o) { control_.seed = o.seed; }

  void check(const op::AnyOp& any, const std::vector<Array>& in) {
    Problem p = make_problem(any, specs_of(in));
    p.threads = options_.threads;
    if (std::holds_alternative<op::Reshape>(any)) return;  // moves nothing
    const RowRun exact = run_reference(any, widened(in), control_);
    if ((exact.control.halt & Control::bad_index) != 0)
      throw DataError(fmt::format("[check_providers] index out of range: found {}", exact.control.bad_value));
    for (const Kernel& row : rows_of(any)) report_.rows.push_back(check_row(any, p, row, in, exact.out));
  }

  ProviderReport finish() {
    report_.ok = !report_.rows.empty();
    for (const ProviderResult& r : report_.rows) {
      report_.ok = report_.ok && r.ok;
      report_.text += fmt::format("{:26} {:13} {}\n", r.op, r.provider,
                                  !r.refusal.empty() ? "refused: " + r.refusal
                                  : r.ok             ? fmt::format("ok, worst {:.3f} of the bound{}", r.worst,
                                                       r.canonical ? ", same bits as the reference" : "")
                                                     : "FAILED: " + r.fault);
    }
    return report_;
  }

 private:
  ProviderResult check_row(const op::AnyOp& any, const Problem& p, const Kernel& row, const std::vector<Array>& in,
                           const std::vector<Array>& exact) {
    ProviderResult r{std::string(op::name_of(any)), std::string(row.provider), row.canonical, false, 0, {}, {}};
    if (const auto* custom = std::get_if<op::CustomOp>(&any)) r.op = custom->def->name;
    const Bound bound = row.bind(p, row);
    if (const auto* refusal = std::get_if<Refusal>(&bound)) {
      r.refusal = refusal->why;
      r.ok = true;
      return r;
    }
    const RowRun run = run_row(p, std::get<Step>(bound), in, control_, options_.threads);
    const Comparison c = compare_bounded(any, widened(in), run.out, exact, control_, arithmetic_of(row));
    r.worst = c.worst;
    r.fault = !run.fault.empty() ? run.fault : c.fault;
    if (row.canonical && r.fault.empty()) r.fault = compare_bits(run.out, run_reference(any, in, control_).out).fault;
    r.ok = r.fault.empty();
    return r;
  }

  ProviderCheckOptions options_;
  Control control_;
  ProviderReport report_;
};

Array random_array(const TensorSpec& spec, const ProviderCheckOptions& o, std::mt19937_64& rng) {
  if (spec.dtype != DType::f32)
    throw UsageError(
        fmt::format("[check_providers] random operands are f32, found {}: give arrays instead", spec.str()));
  std::uniform_real_distribution<double> draw(o.low, o.high);
  Array a(spec);
  for (float& v : a.values<float>()) v = static_cast<float>(draw(rng));
  return a;
}

}  // namespace

ProviderReport check_providers(const CustomFunction& f, const std::vector<TensorSpec>& in,
                               const ProviderCheckOptions& options) {
  std::mt19937_64 rng(options.seed);
  std::vector<Array> arrays;
  for (const TensorSpec& spec : in) arrays.push_back(random_array(spec, options, rng));
  // apply() gives the operation with the user's definition in it.
  Graph g;
  std::vector<Tensor> tensors;
  for (const TensorSpec& spec : in) tensors.push_back(g.input("", spec));
  (void)f.apply(tensors);
  Checker checker(options);
  checker.check(g.nodes.back().op, arrays);
  return checker.finish();
}

ProviderReport check_providers(const TensorFunction& f, const std::vector<Array>& inputs,
                               const ProviderCheckOptions& options) {
  Graph g;
  g.training = true;
  std::vector<Tensor> tensors;
  std::vector<ValueId> wrt;
  for (const Array& a : inputs) {
    tensors.push_back(g.input(fmt::format("x{}", tensors.size()), a.spec()));
    if (a.dtype() == DType::f32) wrt.push_back(tensors.back().id());
  }
  const Tensor y = f(tensors);
  if (!y || &y.graph() != &g)
    throw UsageError("[check_providers] the function expects to return a tensor made from its operands");
  const Tensor loss = y.shape().elements() == 1 ? y : sum(y);
  (void)differentiate(g, loss.id(), wrt);

  std::set<ValueId> read;
  for (const Node& n : g.nodes) read.insert(n.in.begin(), n.in.end());
  const std::vector<ValueId> wanted(read.begin(), read.end());
  Options run;
  run.device = "cpu";
  run.providers = "reference";
  run.threads = options.threads;
  run.seed = options.seed;
  const std::vector<Array> values = run_graph(g, wanted, inputs, run);
  Checker checker(options);
  for (const Node& n : g.nodes) {
    std::vector<Array> in;
    for (const ValueId v : n.in)
      in.push_back(
          values[static_cast<std::size_t>(std::lower_bound(wanted.begin(), wanted.end(), v) - wanted.begin())]);
    checker.check(n.op, in);
  }
  return checker.finish();
}

}  // namespace tenon
