// The whole way on one page: trace -> prune -> fuse -> differentiate -> append update -> fold -> prune -> group ->
// recompute -> plan, where steps are joined to strips and to their updates.
#include "lib/runtime/compile_plan.hpp"

#include <fmt/format.h>

#include "lib/ops/check.hpp"
#include "lib/passes/passes.hpp"

namespace tenon {
namespace {

/// Outputs and gradients that `observe` names become roles; other outputs are read in predict plans only.
void keep_observed(Graph& g, const CompileOptions& o) {
  std::vector<Role> kept;
  for (const Role& r : g.outputs)
    for (const std::string& pattern : o.observe)
      if (matches(pattern, r.name)) {
        kept.push_back(r);
        break;
      }
  g.observed.insert(g.observed.end(), kept.begin(), kept.end());
  g.outputs.clear();
}

std::vector<Trainable> trainables(const Parameters& parameters, const CompileOptions& o) {
  std::vector<Trainable> list;
  for (const std::size_t i : trainable_parameters(parameters, o)) {
    Trainable t{i};
    for (const ParameterGroup& group : o.groups)
      if (matches(group.match, parameters.list()[i].name)) {
        t.lr_scale = group.lr_scale;
        t.weight_decay = group.weight_decay;
        break;
      }
    list.push_back(t);
  }
  return list;
}

/// What the gradient starts from; no_value for 1.
ValueId seed_of(Graph& g, float loss_scale) {
  if (loss_scale == 1.f) return no_value;
  Array scale(g.spec(g.loss));
  if (scale.dtype() == DType::f64)
    scale.values<double>()[0] = static_cast<double>(loss_scale);
  else
    scale.values<float>()[0] = loss_scale;
  return g.add_constant(std::move(scale));
}

void append_training(Graph& g, const std::vector<ValueId>& values, const Parameters& parameters,
                     const CompileOptions& o, bool apply) {
  std::vector<Trainable> wanted = trainables(parameters, o);
  std::vector<ValueId> wrt;
  std::vector<std::size_t> place;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (values[wanted[i].parameter] != no_value) {
      wrt.push_back(values[wanted[i].parameter]);
      place.push_back(i);
    }
  // First, since an update may follow its gradient at once.
  g.append(op::CheckFinite{}, {g.loss});
  const std::vector<ValueId> gradients = differentiate(g, g.loss, wrt, seed_of(g, o.loss_scale));
  for (std::size_t i = 0; i < gradients.size(); ++i) wanted[place[i]].gradient = gradients[i];
  append_update(g, parameters, wanted, {&o.optimizer, o.clip_norm, o.accumulate, 1.f / o.loss_scale, apply});
  append_assignments(g);
}

}  // namespace

std::vector<std::size_t> trainable_parameters(const Parameters& parameters, const CompileOptions& o) {
  std::vector<std::size_t> list;
  std::vector<bool> used(o.frozen.size());
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const Parameter& p = parameters.list()[i];
    bool frozen = !p.trainable;
    for (std::size_t f = 0; f < o.frozen.size(); ++f)
      if (matches(o.frozen[f], p.name)) frozen = used[f] = true;
    if (!frozen) list.push_back(i);
  }
  std::vector<std::string> names;
  for (const Parameter& p : parameters.list()) names.push_back(p.name);
  for (std::size_t f = 0; f < used.size(); ++f)
    if (!used[f]) reject("frozen", "'{}' matches none of: {}", o.frozen[f], fmt::join(names, ", "));
  for (const ParameterGroup& group : o.groups) {
    bool any = false;
    for (const std::string& n : names) any = any || matches(group.match, n);
    if (!any) reject("groups", "'{}' matches none of: {}", group.match, fmt::join(names, ", "));
  }
  return list;
}

Plan compile_plan(const Model& model, const CompileOptions& o, const RowSet& rows, PlanMode mode, std::int64_t batch,
                  Tuner* tuner) {
  const bool training = mode == PlanMode::train || mode == PlanMode::accumulate;
  TraceRequest request{.inputs = &o.inputs, .batch = batch, .training = training, .dtype = model.parameters().dtype()};
  if (mode != PlanMode::predict) {
    request.targets = &o.targets;
    request.loss = &o.loss;
    request.metrics = &o.metrics;
  }
  Traced traced = trace(model, request);
  Graph& g = traced.graph;
  if (mode != PlanMode::predict) keep_observed(g, o);
  if (!training) {
    g.assignments.clear();
    g.assignment_momentum.clear();
  }
  prune(g);
  if (o.run.fuse) fuse(g, rows);
  if (training) append_training(g, traced.parameters, model.parameters(), o, mode == PlanMode::train);
  fold(g);
  prune(g);
  if (o.run.fuse) group(g, rows);
  // On a device the caches are shared by all that runs.
  const StripPolicy strips{.threads = rows.threads()};
  const bool in_strips = o.run.fuse && rows.on_host();
  if (in_strips) recompute(g, rows, strips);
  return make_plan(g, rows, tuner, in_strips ? &strips : nullptr);
}

}  // namespace tenon
