// One-off runs: plan, allocate, run once, copy out.
#include "lib/runtime/run_graph.hpp"

#include "lib/passes/passes.hpp"
#include "lib/runtime/plan.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/backend.hpp"
#include "tenon/error.hpp"

namespace tenon {

std::vector<Array> run_graph(const Graph& graph, const std::vector<ValueId>& wanted, const std::vector<Array>& inputs,
                             const Options& options) {
  Graph g = graph;
  g.loss = no_value;
  g.outputs.clear();
  g.metrics.clear();
  g.observed.clear();
  for (const ValueId v : wanted) g.outputs.push_back({"", v});
  prune(g);
  Backend& device = backend(options.device == "auto" ? "cpu" : options.device);
  const int threads = options.threads > 0 ? options.threads : device.default_threads();
  Plan plan = make_plan(g, RowSet(device, options));

  const Slab arena(device, static_cast<std::size_t>(plan.arena_bytes));
  Slabs slabs;
  slabs[Space::arena] = arena.data();
  Runner runner(plan, device);
  runner.bind(slabs);
  std::vector<const std::byte*> in;
  for (const Array& a : inputs) in.push_back(a.bytes());
  Control control;
  control.seed = options.seed;
  runner.run(in, control, threads);
  if ((control.halt & Control::bad_index) != 0)
    throw DataError("[eval] index out of range: found " + std::to_string(control.bad_value));

  std::vector<Array> out;
  for (const Readable& r : plan.outputs) {
    Array a(r.spec);
    runner.read(r.home, a.bytes(), r.spec.bytes());
    out.push_back(std::move(a));
  }
  return out;
}

Array eval(Tensor tensor, const Options& options) {
  Options o = options;
  if (tensor.dtype() == DType::f64) o.dtype = DType::f64;
  return run_graph(tensor.graph(), {tensor.id()}, {}, o)[0];
}

Scratch::Scratch() : graph_(std::make_unique<Graph>()) {}
Scratch::~Scratch() = default;
Tensor Scratch::operator()(Array value) { return graph_->constant(std::move(value)); }

}  // namespace tenon
