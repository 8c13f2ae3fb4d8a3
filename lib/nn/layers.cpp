// The layers: each declares its parameters in the traced model and composes ops.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "lib/nn/trace.hpp"
#include "lib/ops/check.hpp"

namespace tenon::nn {
namespace {

using nlohmann::json;

/// Enters a layer: name, attribute check, and the graph's scope for messages and tables.
class LayerScope {
 public:
  LayerScope(Tensor x, const Handle& handle, const char* type, const std::string& name, const std::string& config)
      : context_(trace_of(x, type)),
        graph_(x.graph()),
        outer_(graph_.scope),
        name_(context_.enter(handle.state(), type, name, config)) {
    graph_.scope = name_;
  }
  ~LayerScope() { graph_.scope = outer_; }
  LayerScope(const LayerScope&) = delete;
  LayerScope& operator=(const LayerScope&) = delete;

  Tensor parameter(const char* which, const Shape& shape, Initializer init) {
    return context_.parameter(name_ + "." + which, shape, init, true);
  }

 private:
  TraceContext& context_;
  Graph& graph_;
  std::string outer_, name_;
};

json hw(Hw v) { return json::array({v.h, v.w}); }

json padding_json(const Padding& p) {
  if (p.mode == Padding::Mode::valid) return "valid";
  if (p.mode == Padding::Mode::same) return "same";
  return json::array({p.top, p.bottom, p.left, p.right});
}

json named(const char* type, const std::string& name, const Handle& handle) {
  // Written under the name of the first trace, so that a rebuilt model finds its weights.
  json j{{"type", type}};
  const std::string& known = handle.state().name.empty() ? name : handle.state().name;
  if (!known.empty()) j["name"] = known;
  return j;
}

void put_activation(json& j, const Activation& a) {
  j["activation"] = a.name();
  if (a.alpha() != 0.f) j["alpha"] = a.alpha();
}

/// Attributes only: the name is not known before the first trace.
std::string attributes(const std::string& config) {
  json j = json::parse(config);
  j.erase("name");
  return j.dump();
}

}  // namespace

Handle::Handle() : state_(std::make_shared<LayerState>()) {}

std::string Conv2d::config() const {
  json j = named("conv2d", name, handle);
  j["filters"] = filters;
  j["kernel"] = hw(kernel);
  j["stride"] = hw(stride);
  j["padding"] = padding_json(padding);
  j["dilation"] = hw(dilation);
  j["groups"] = groups;
  j["use_bias"] = use_bias;
  j["kernel_initializer"] = kernel_initializer.name;
  j["bias_initializer"] = bias_initializer.name;
  put_activation(j, activation);
  return j.dump();
}

Tensor Conv2d::operator()(Tensor x) const {
  LayerScope scope(x, handle, "conv2d", name, attributes(config()));
  require_rank("conv2d", "input (n,h,w,c)", {x.dtype(), x.shape()}, 4);
  if (filters < 1) reject("conv2d", "filters are 1 or more, found {}", filters);
  if (groups < 1 || x.shape()[3] % groups != 0)
    reject("conv2d", "channels divide by groups {}: input {}", groups, x.shape().str());
  const Tensor w = scope.parameter("kernel", {kernel.h, kernel.w, x.shape()[3] / groups, filters}, kernel_initializer);
  Tensor y = conv2d(x, w, {.stride = stride, .padding = padding, .dilation = dilation, .groups = groups});
  if (use_bias) y = bias_add(y, scope.parameter("bias", {filters}, bias_initializer));
  return activation(y);
}

Conv2d Conv2d::clone() const {
  Conv2d c = *this;
  c.handle = Handle();
  c.name.clear();
  return c;
}

std::string Dense::config() const {
  json j = named("dense", name, handle);
  j["units"] = units;
  j["use_bias"] = use_bias;
  j["kernel_initializer"] = kernel_initializer.name;
  j["bias_initializer"] = bias_initializer.name;
  put_activation(j, activation);
  return j.dump();
}

Tensor Dense::operator()(Tensor x) const {
  LayerScope scope(x, handle, "dense", name, attributes(config()));
  if (units < 1) reject("dense", "units are 1 or more, found {}", units);
  if (x.shape().rank() < 1) reject("dense", "input expects at least one axis, found a scalar");
  const Shape in = x.shape();
  const std::int64_t c = in[-1];
  const Tensor w = scope.parameter("kernel", {c, units}, kernel_initializer);
  // More axes than two count as rows.
  Tensor y = matmul(in.rank() == 2 ? x : reshape(x, {in.product(0, in.rank() - 1), c}), w);
  if (use_bias) y = bias_add(y, scope.parameter("bias", {units}, bias_initializer));
  y = activation(y);
  return in.rank() == 2 ? y : reshape(y, in.with(-1, units));
}

Dense Dense::clone() const {
  Dense d = *this;
  d.handle = Handle();
  d.name.clear();
  return d;
}

namespace {
template <class Pool>
std::string pool_config(const Pool& p, const char* type) {
  json j = named(type, p.name, p.handle);
  j["window"] = hw(p.window);
  j["stride"] = hw(p.stride);
  j["padding"] = padding_json(p.padding);
  return j.dump();
}
}  // namespace

std::string MaxPool2d::config() const { return pool_config(*this, "max_pool2d"); }
Tensor MaxPool2d::operator()(Tensor x) const {
  const LayerScope scope(x, handle, "max_pool2d", name, attributes(config()));
  return max_pool2d(x, {.window = window, .stride = stride, .padding = padding});
}

std::string AvgPool2d::config() const { return pool_config(*this, "avg_pool2d"); }
Tensor AvgPool2d::operator()(Tensor x) const {
  const LayerScope scope(x, handle, "avg_pool2d", name, attributes(config()));
  return avg_pool2d(x, {.window = window, .stride = stride, .padding = padding});
}

std::string Dropout::config() const {
  json j = named("dropout", name, handle);
  j["rate"] = rate;
  return j.dump();
}
Tensor Dropout::operator()(Tensor x) const {
  const LayerScope scope(x, handle, "dropout", name, attributes(config()));
  return dropout(x, rate);
}

std::string Flatten::config() const { return named("flatten", name, handle).dump(); }
Tensor Flatten::operator()(Tensor x) const {
  const LayerScope scope(x, handle, "flatten", name, attributes(config()));
  return flatten(x);
}

std::string ActivationLayer::config() const {
  json j = named("activation", name, handle);
  put_activation(j, activation);
  return j.dump();
}
Tensor ActivationLayer::operator()(Tensor x) const {
  const LayerScope scope(x, handle, "activation", name, attributes(config()));
  return activation(x);
}

Tensor state(Tensor like, const std::string& name, Shape shape, Initializer init) {
  return trace_of(like, "state").parameter(name, shape, init, false);
}

void assign(Tensor state, Tensor value, float momentum) {
  Graph& g = graph_of("assign", state, value);
  if (g.values[static_cast<std::size_t>(state.id())].home.space != Space::parameters)
    reject("assign", "expects a state of nn::state(), found {}", state.shape().str());
  require_same("assign", "value", g.spec(value.id()), g.spec(state.id()));
  if (!g.training) return;
  g.assignments.emplace_back(state.id(), value.id());
  g.assignment_momentum.push_back(momentum);
}

Tensor parameter(Tensor like, const std::string& name, Shape shape, Initializer init) {
  return trace_of(like, "parameter").parameter(name, shape, init, true);
}

bool training(Tensor like) { return like.graph().training; }

}  // namespace tenon::nn
