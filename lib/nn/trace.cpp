// Tracing a model: inputs, the user's function, loss and metrics become one graph.
#include "lib/nn/trace.hpp"

#include <fmt/format.h>

#include "lib/ops/check.hpp"

namespace tenon {

const std::string& TraceContext::enter(nn::LayerState& s, const char* type, const std::string& wanted,
                                       const std::string& config) {
  if (s.name.empty()) {
    if (wanted.empty()) {
      const int call = calls_[type]++;
      s.name = call == 0 ? std::string(type) : fmt::format("{}_{}", type, call);
    } else {
      s.name = wanted;
    }
    s.config = config;
    s.owner = &parameters_;
    for (const auto& [name, owner] : owners_)
      if (name == s.name) {
        s.name.clear();
        reject(type, "two layers are named '{}': give one another .name", name);
      }
  } else {
    if (s.owner != &parameters_) reject(type, "layer '{}' belongs to another model: clone() it", s.name);
    if (s.config != config)
      reject(type, "attributes of '{}' differ from its first trace: {} was {}", s.name, config, s.config);
  }
  owners_[s.name] = &s;
  return s.name;
}

Tensor TraceContext::parameter(const std::string& name, const Shape& shape, Initializer init, bool trainable) {
  const std::size_t i = parameters_.declare(name, shape, init, trainable);
  if (values_.size() <= i) values_.resize(i + 1, no_value);
  if (values_[i] == no_value) {
    const std::int64_t bytes = parameters_.list()[i].offset * static_cast<std::int64_t>(size_of(graph_.dtype));
    values_[i] = graph_.add_value({graph_.dtype, shape}, {Space::parameters, bytes}, name);
  }
  return {&graph_, values_[i]};
}

TraceContext& trace_of(Tensor t, const char* who) {
  TraceContext* context = t.graph().trace;
  if (context == nullptr) reject(who, "layers are called inside a model: the tensor's graph is not being traced");
  return *context;
}

namespace {

Shape with_batch(const Shape& shape, std::int64_t batch) {
  Shape s{batch};
  for (const std::int64_t e : shape.extents()) s.push_back(e);
  return s;
}

Values make_inputs(Graph& g, const std::vector<InputSpec>& specs, std::int64_t batch, DType dtype) {
  std::vector<std::pair<std::string, Tensor>> items;
  for (const InputSpec& s : specs)
    items.emplace_back(s.name, g.input(s.name, {s.dtype == DType::f32 ? dtype : s.dtype, with_batch(s.shape, batch)}));
  return Values(std::move(items));
}

}  // namespace

Traced trace(const Model& model, const TraceRequest& r) {
  Traced t;
  Graph& g = t.graph;
  g.training = r.training;
  g.dtype = r.dtype;
  TraceContext context(g, model.parameters());
  const Values in = make_inputs(g, *r.inputs, r.batch, r.dtype);
  const Values out = model(in);
  for (const auto& [name, tensor] : out) g.outputs.push_back({name, tensor.id()});
  if (r.targets != nullptr && r.loss != nullptr && *r.loss) {
    const Values targets = make_inputs(g, *r.targets, r.batch, r.dtype);
    const Tensor loss = (*r.loss)(out, targets);
    if (loss.shape().elements() != 1) reject("loss", "expects a scalar, found {}: take its mean", loss.shape().str());
    g.loss = loss.id();
    for (const Metric& m : *r.metrics) {
      const Tensor y = m.output.empty() ? out.only() : out[m.output];
      const Tensor target = m.output.empty() ? targets.only() : targets[m.output];
      const std::string name =
          m.output.empty() || out.size() == 1 ? m.criterion.name : m.output + "." + m.criterion.name;
      g.metrics.push_back({name, m.criterion(y, target).id()});
    }
  }
  t.parameters = context.values();
  t.parameters.resize(model.parameters().list().size(), no_value);
  return t;
}

void declare_parameters(const Model& model, DType dtype) {
  if (model.parameters().sealed()) return;
  (void)trace(model, {.inputs = &model.inputs().specs, .training = true, .dtype = dtype});
  model.parameters().seal(dtype);
  model.parameters().initialize(0);
}

}  // namespace tenon
