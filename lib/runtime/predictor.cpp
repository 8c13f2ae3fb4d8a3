// Prediction from many threads: plans are shared, each call borrows an arena of its own.
#include <fmt/format.h>

#include <map>
#include <mutex>

#include "lib/ops/check.hpp"
#include "lib/runtime/compile_plan.hpp"
#include "lib/runtime/slab.hpp"
#include "lib/runtime/tune.hpp"
#include "tenon/backend.hpp"

namespace tenon {

struct Predictor::Impl {
  /// What one call needs for itself.
  struct Context {
    Context(Plan& plan, Backend& device, Parameters& parameters)
        : arena(device, static_cast<std::size_t>(plan.arena_bytes)), runner(plan, device) {
      Slabs slabs;
      slabs[Space::arena] = arena.data();
      slabs[Space::parameters] = parameters.on_device(device);
      runner.bind(slabs);
    }
    Slab arena;
    Runner runner;
  };
  struct Entry {
    explicit Entry(Plan p) : plan(std::move(p)) {}
    Plan plan;
    std::vector<std::unique_ptr<Context>> idle;
  };

  Impl(Model m, const Options& run)
      : model(std::move(m)),
        device(backend(run.device)),
        threads(run.threads > 0 ? run.threads : device.default_threads()),
        rows(device, run),
        tuner(make_tuner(device, rows, run)),
        peak(peak_to_judge_by(device, threads)) {
    options.run = run;
    options.inputs = model.inputs().specs;
  }

  ~Impl() {
    for (const auto& [batch, e] : entries)
      if (e != nullptr) log_times("predict", batch, e->plan);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Entry& entry(std::int64_t batch) {
    std::unique_ptr<Entry>& e = entries[batch];
    if (e == nullptr) {
      e = std::make_unique<Entry>(compile_plan(model, options, rows, PlanMode::predict, batch, tuner.get()));
      e->plan.peak = peak;
    }
    return *e;
  }

  std::unique_ptr<Context> borrow(Entry*& e, std::int64_t batch) {
    const std::lock_guard lock(mutex);
    e = &entry(batch);
    if (e->idle.empty()) return std::make_unique<Context>(e->plan, device, model.parameters());
    std::unique_ptr<Context> c = std::move(e->idle.back());
    e->idle.pop_back();
    return c;
  }

  Model model;
  Backend& device;
  int threads;
  RowSet rows;
  std::unique_ptr<Tuner> tuner;  // null unless the options ask for it
  Peak peak;
  CompileOptions options;
  std::mutex mutex;
  std::map<std::int64_t, std::unique_ptr<Entry>> entries;
};

std::vector<Array> Predictor::operator()(const std::vector<Array>& inputs) const {
  Impl& p = *impl_;
  if (inputs.size() != p.options.inputs.size())
    reject("predictor", "expects {} inputs, found {}", p.options.inputs.size(), inputs.size());
  std::vector<const std::byte*> addresses;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const InputSpec& s = p.options.inputs[i];
    const DType dtype = s.dtype == DType::f32 ? p.model.parameters().dtype() : s.dtype;
    const Shape& found = inputs[i].shape();
    if (found.rank() != s.shape.rank() + 1 || found[0] < 1 || found[0] != inputs[0].shape()[0] ||
        inputs[i].dtype() != dtype ||
        !std::equal(found.extents().begin() + 1, found.extents().end(), s.shape.extents().begin()))
      reject("predictor", "input '{}' expects {}{} behind the batch axis, found {}", s.name, name_of(dtype),
             s.shape.str(), inputs[i].spec().str());
    addresses.push_back(inputs[i].bytes());
  }
  Impl::Entry* entry = nullptr;
  std::unique_ptr<Impl::Context> context = p.borrow(entry, inputs[0].shape()[0]);
  Control control;
  (void)p.model.parameters().on_device(p.device);  // with what was set or trained since
  context->runner.run(addresses, control, p.threads);
  std::vector<Array> out;
  for (const Readable& r : entry->plan.outputs) {
    out.emplace_back(r.spec);
    context->runner.read(r.home, out.back().bytes(), r.spec.bytes());
  }
  const std::lock_guard lock(p.mutex);
  entry->idle.push_back(std::move(context));
  if ((control.halt & Control::bad_index) != 0)
    throw DataError(fmt::format("[predictor] an id is out of range: found {}", control.bad_value));
  return out;
}

int Predictor::host_threads() const { return impl_->device.on_host() ? impl_->threads : 0; }

Predictor Model::predictor(const Options& run) const {
  if (inputs().specs.empty()) reject("predictor", "inputs are not known yet: compile, fit or load the model first");
  declare_parameters(*this, DType::f32);
  Options with_dtype = run;
  with_dtype.dtype = parameters().dtype();
  return Predictor(std::make_shared<Predictor::Impl>(*this, with_dtype));
}

}  // namespace tenon
