// A compiled model: slabs, control block, and plans by (mode, batch) over one arena.
#include "lib/runtime/program_impl.hpp"

#include <fmt/format.h>

#include <cmath>

#include "lib/ops/check.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

int state_slabs(const Optimizer& optimizer) {
  struct Count {
    int operator()(const Sgd& o) const { return o.momentum != 0.f ? 1 : 0; }
    int operator()(const Adadelta&) const { return 2; }
    int operator()(const Adagrad&) const { return 1; }
    int operator()(const RmsProp& o) const { return o.momentum != 0.f ? 2 : 1; }
    int operator()(const Adam&) const { return 2; }
    int operator()(const AdamW&) const { return 2; }
  };
  return std::visit(Count{}, optimizer);
}

/// A pattern that matches nothing is a mistake.
void check_observed(const Graph& g, const Parameters& parameters, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (const Role& r : g.outputs) any = any || matches(pattern, r.name);
    for (const Parameter& p : parameters.list())
      any = any || matches(pattern, "grad:" + p.name) || matches(pattern, "param:" + p.name);
    if (!any) reject("observe", "'{}' matches no output, grad:parameter or param:parameter", pattern);
  }
}

Array filled(DType dtype, std::int64_t elements, float value) {
  Array a(dtype, {elements});
  if (dtype == DType::f64)
    std::ranges::fill(a.values<double>(), value);
  else
    std::ranges::fill(a.values<float>(), value);
  return a;
}

}  // namespace

Program::Impl::Impl(Model m, CompileOptions o)
    : model(std::move(m)),
      options(std::move(o)),
      device(backend(options.run.device)),
      threads(options.run.threads > 0 ? options.run.threads : device.default_threads()),
      rows(device, options.run),
      tuner(make_tuner(device, rows, options.run)),
      peak(peak_to_judge_by(device, threads)) {
  control.seed = options.run.seed;
}

Program::Impl::~Impl() {
  constexpr const char* names[] = {"train", "accumulate", "evaluate", "predict"};
  for (const auto& [key, c] : plans)
    if (c != nullptr) log_times(names[static_cast<int>(key.first)], key.second, c->plan);
}

void Program::Impl::allocate() {
  const Parameters& p = model.parameters();
  const std::size_t bytes = static_cast<std::size_t>(p.slab_elements()) * size_of(p.dtype());
  const auto cleared = [&](std::size_t size) {
    Slab slab(device, size);
    slab.clear();
    return slab;
  };
  gradients = cleared(bytes);
  if (options.accumulate > 1) accumulated = cleared(bytes);
  const int states = state_slabs(options.optimizer);
  for (int i = 0; i < states; ++i) state[i] = cleared(bytes);
  if (const auto* adagrad = std::get_if<Adagrad>(&options.optimizer); adagrad != nullptr && bytes > 0) {
    const Array start = filled(p.dtype(), p.slab_elements(), adagrad->initial_accumulator);
    device.upload(state[0].data(), start.bytes(), bytes);
  }
  device.synchronize();
}

Slabs Program::Impl::slabs() {
  Slabs s;
  s[Space::arena] = arena.data();
  s[Space::parameters] = model.parameters().on_device(device);
  s[Space::gradients] = gradients.data();
  s[Space::accumulated] = accumulated.data();
  s[Space::state0] = state[0].data();
  s[Space::state1] = state[1].data();
  s[Space::state2] = state[2].data();
  return s;
}

Compiled& Program::Impl::compiled(PlanMode mode, std::int64_t batch) {
  auto& slot = plans[{mode, batch}];
  if (slot == nullptr) {
    slot = std::make_unique<Compiled>(compile_plan(model, options, rows, mode, batch, tuner.get()), device);
    slot->plan.peak = peak;
    if (static_cast<std::size_t>(slot->plan.arena_bytes) > arena.size()) {
      arena = Slab(device, static_cast<std::size_t>(slot->plan.arena_bytes));
      arena.clear();
      for (auto& [key, other] : plans)
        if (other != nullptr) other->runner.bind(slabs());
    }
    slot->runner.bind(slabs());
    values.resize(std::max(values.size(), slot->plan.metrics.size()));
    for (std::size_t i = 0; i < slot->plan.metrics.size(); ++i) values[i].name = slot->plan.metrics[i].name;
  }
  return *slot;
}

std::int64_t Program::Impl::feed(const std::vector<Array>& inputs, const std::vector<Array>* targets) {
  addresses.clear();
  std::int64_t batch = -1;
  add(inputs, options.inputs, "input", batch);
  if (targets != nullptr) add(*targets, options.targets, "target", batch);
  return batch;
}

void Program::Impl::add(const std::vector<Array>& arrays, const std::vector<InputSpec>& specs, const char* what,
                        std::int64_t& batch) {
  if (arrays.size() != specs.size()) reject("program", "expects {} {}s, found {}", specs.size(), what, arrays.size());
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Shape& found = arrays[i].shape();
    const DType dtype = specs[i].dtype == DType::f32 ? model.parameters().dtype() : specs[i].dtype;
    const bool fits = found.rank() == specs[i].shape.rank() + 1 && arrays[i].dtype() == dtype &&
                      (batch < 0 || found[0] == batch) &&
                      std::equal(found.extents().begin() + 1, found.extents().end(), specs[i].shape.extents().begin());
    if (!fits || found[0] < 1)
      reject("program", "{} '{}' expects (batch, ...) = {}{} behind the batch axis, found {}", what, specs[i].name,
             name_of(dtype), specs[i].shape.str(), arrays[i].spec().str());
    batch = found[0];
    addresses.push_back(arrays[i].bytes());
  }
}

Compiled& Program::Impl::run(PlanMode mode, std::int64_t batch) {
  Compiled& c = compiled(mode, batch);
  last = &c;
  const std::uint32_t halted_before = control.halt;
  (void)model.parameters().on_device(device);  // with what was set or trained elsewhere since
  c.runner.run(addresses, control, threads);
  if (mode == PlanMode::train) model.parameters().changed_on(device);
  check_labels(halted_before, batch);
  return c;
}

void Program::Impl::check_labels(std::uint32_t halted_before, std::int64_t batch) {
  if ((control.halt & Control::bad_index) == 0) return;
  control.halt = halted_before;  // the loss is NaN because of the label: this batch is to blame, not the model
  throw DataError(
      fmt::format("[program] a label or id is out of range: found {} in a batch of {}", control.bad_value, batch));
}

StepResult Program::Impl::read(const Compiled& c) {
  StepResult r;
  r.loss = c.scalar(c.plan.loss);
  for (std::size_t i = 0; i < c.plan.metrics.size(); ++i) values[i].value = c.scalar(c.plan.metrics[i]);
  r.metrics = {values.data(), c.plan.metrics.size()};
  note_halt(r, control.halt);
  return r;
}

Program::Program(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&&) noexcept = default;
Program::~Program() = default;

Program compile(const Model& model, CompileOptions o) {
  if (o.inputs.empty()) reject("compile", "expects at least one input, found none");
  if (o.accumulate < 1) reject("compile", "accumulate is 1 or more, found {}", o.accumulate);
  if (o.clip_norm < 0.f) reject("compile", "clip_norm is 0 or more, found {}", o.clip_norm);
  if (o.run.threads < 0) reject("compile", "threads are 0 or more, found {}", o.run.threads);
  if (o.loss_scale == 0.f) o.loss_scale = precision_of(o.run.precision) == Precision::fp16 ? 1024.f : 1.f;
  int exponent = 0;
  if (!(o.loss_scale >= 1.f && o.loss_scale <= 0x1p24f && std::frexp(o.loss_scale, &exponent) == 0.5f))
    reject("compile", "loss_scale is a power of two from 1 to 2^24, or 0, found {}", o.loss_scale);
  if (o.run.dtype != DType::f32 && o.run.dtype != DType::f64)
    reject("compile", "parameters are f32 or f64, found {}", name_of(o.run.dtype));
  model.inputs().specs = o.inputs;
  auto impl = std::make_unique<Program::Impl>(model, std::move(o));
  const CompileOptions& options = impl->options;
  Parameters& parameters = model.parameters();
  if (parameters.sealed() && parameters.dtype() != options.run.dtype)
    reject("compile", "parameters are {} already, asked for {}", name_of(parameters.dtype()),
           name_of(options.run.dtype));
  // With the loss and on one row, so that a mistake is found now and not at the first step. The model's first trace
  // ever declares its parameters.
  const Traced t = trace(model, {.inputs = &options.inputs,
                                 .targets = &options.targets,
                                 .loss = &options.loss,
                                 .metrics = &options.metrics,
                                 .training = true,
                                 .dtype = options.run.dtype});
  if (!parameters.sealed()) {
    parameters.seal(options.run.dtype);
    parameters.initialize(options.run.seed);
  }
  check_observed(t.graph, parameters, options.observe);
  (void)trainable_parameters(parameters, options);
  impl->allocate();
  return Program(std::move(impl));
}

StepResult Program::step(const Batch& batch) {
  Impl& p = *impl_;
  if (!p.options.loss) reject("program", "step() expects a loss: it was compiled without one");
  const std::int64_t n = p.feed(batch.inputs, &batch.targets);
  const bool apply = static_cast<int>(p.control.micro) + 1 >= p.options.accumulate;
  p.control.lr = p.next_lr();
  Compiled& c = p.run(apply ? PlanMode::train : PlanMode::accumulate, n);
  StepResult r = p.read(c);
  ++p.control.step;
  p.control.micro = apply ? 0 : p.control.micro + 1;
  r.updated = apply && p.control.halt == 0;
  if (r.updated) ++p.control.updates;
  if (apply) p.control.halt &= ~Control::overflow;  // what overflowed was this update, not the next
  return r;
}

StepResult Program::evaluate(const Batch& batch) {
  Impl& p = *impl_;
  if (!p.options.loss) reject("program", "evaluate() expects a loss: it was compiled without one");
  return p.read(p.run(PlanMode::evaluate, p.feed(batch.inputs, &batch.targets)));
}

std::vector<Array> Program::predict(const std::vector<Array>& inputs) {
  Compiled& c = impl_->run(PlanMode::predict, impl_->feed(inputs, nullptr));
  std::vector<Array> out;
  for (const Readable& r : c.plan.outputs) out.push_back(c.array(r));
  return out;
}

Array Program::observed(const std::string& name) const {
  if (name.starts_with("grad:")) return gradient(name.substr(5));
  if (name.starts_with("param:")) return parameters().get(name.substr(6));
  if (impl_->last == nullptr) reject("observed", "expects a step() before");
  std::vector<std::string> names;
  for (const Readable& r : impl_->last->plan.observed) {
    names.push_back(r.name);
    if (r.name == name) return impl_->last->array(r);
  }
  reject("observed", "no '{}' among: {}; name it in .observe", name, fmt::join(names, ", "));
}

Array Program::gradient(const std::string& parameter) const {
  const Parameters& ps = parameters();
  const Parameter& p = ps.list()[ps.index_of(parameter)];
  Array a(ps.dtype(), p.shape);
  impl_->device.download(a.bytes(), impl_->gradients.data() + static_cast<std::size_t>(p.offset) * size_of(ps.dtype()),
                         a.spec().bytes());
  impl_->device.synchronize();
  return a;
}

Parameters& Program::parameters() const { return impl_->model.parameters(); }
std::int64_t Program::updates() const { return impl_->control.updates; }

void Program::start_epoch(std::uint32_t epoch) {
  impl_->control.epoch = epoch;
  impl_->control.step = 0;
}

void Program::set_learning_rate(std::optional<float> lr) { impl_->lr_override = lr; }
float Program::learning_rate() const { return impl_->next_lr(); }

namespace {
PlanMode plan_mode(Program::Mode mode) {
  constexpr PlanMode modes[] = {PlanMode::train, PlanMode::evaluate, PlanMode::predict};
  return modes[static_cast<int>(mode)];
}
}  // namespace

std::vector<PlanEntry> Program::plan(Mode mode, std::int64_t batch) {
  return impl_->compiled(plan_mode(mode), batch).plan.entries();
}
std::string Program::plan_table(Mode mode, std::int64_t batch) {
  return impl_->compiled(plan_mode(mode), batch).plan.table();
}

std::string Program::banner() const {
  const Impl& p = *impl_;
  const float scale = p.options.loss_scale;
  return fmt::format("{}: {}, {} thread{}; {}{}{}", p.device.name(), p.device.description(), p.threads,
                     p.threads == 1 ? "" : "s", p.options.run.dtype == DType::f64 ? "fp64" : p.rows.precision_text(),
                     scale == 1.f || !p.options.loss ? "" : fmt::format(", loss x {}", scale),
                     p.tuner != nullptr ? ", tuned" : "");
}

int Program::host_threads() const { return impl_->device.on_host() ? impl_->threads : 0; }
std::size_t Program::arena_bytes() const { return impl_->arena.size(); }

}  // namespace tenon
