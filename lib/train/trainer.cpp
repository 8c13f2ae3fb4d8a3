// The epoch loop: batches from the loader, steps of the program, records to the hooks.
#include "tenon/train.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lib/ops/check.hpp"
#include "lib/runtime/resident_steps.hpp"
#include "lib/train/overflows.hpp"
#include "lib/train/record_block.hpp"
#include "tenon/io.hpp"

namespace tenon {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Mean over examples of loss and metrics.
class Means {
 public:
  void add(const StepResult& r, std::int64_t examples) {
    const auto n = static_cast<double>(examples);
    loss_ += r.loss * n;
    if (metrics_.size() < r.metrics.size()) metrics_.assign(r.metrics.begin(), r.metrics.end()), clear_values();
    for (std::size_t i = 0; i < r.metrics.size(); ++i) metrics_[i].value += r.metrics[i].value * n;
    examples_ += examples;
  }
  [[nodiscard]] std::int64_t examples() const { return examples_; }
  [[nodiscard]] double loss() const { return examples_ > 0 ? loss_ / static_cast<double>(examples_) : 0; }
  [[nodiscard]] std::vector<NamedValue> metrics() const {
    std::vector<NamedValue> m = metrics_;
    for (NamedValue& v : m) v.value /= static_cast<double>(std::max<std::int64_t>(examples_, 1));
    return m;
  }

 private:
  void clear_values() {
    for (NamedValue& v : metrics_) v.value = 0;
  }
  double loss_ = 0;
  std::vector<NamedValue> metrics_;
  std::int64_t examples_ = 0;
};

/// The next steps of equal size in a sweep over `samples`: the last may be a short one, alone.
struct Sweep {
  std::int64_t batch = 0;
  int count = 0;
};
Sweep next_steps(std::int64_t at, std::int64_t samples, std::int64_t batch, std::int64_t most) {
  const std::int64_t whole = (samples - at) / batch;
  if (whole == 0) return {samples - at, 1};
  return {batch, static_cast<int>(std::min(whole, most))};
}

std::vector<InputSpec> specs_of(const std::vector<NamedColumn>& columns) {
  std::vector<InputSpec> specs;
  for (const auto& [name, column] : columns) specs.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  return specs;
}

}  // namespace

void TrainControl::save(const std::string& path) { save_(path); }

double Evaluation::operator[](const std::string& name) const {
  if (name == "loss") return loss;
  for (const NamedValue& m : metrics)
    if (m.name == name) return m.value;
  reject("evaluation", "no '{}' among loss and {} metrics", name, metrics.size());
}

std::vector<double> History::operator[](const std::string& name) const {
  std::vector<double> series;
  for (const EpochRecord& e : epochs) {
    std::optional<double> found;
    if (name == "loss") found = e.loss;
    if (name == "val_loss") found = e.validation_loss;
    for (const NamedValue& m : e.metrics)
      if (m.name == name) found = m.value;
    for (const NamedValue& m : e.validation_metrics)
      if ("val_" + m.name == name) found = m.value;
    if (!found) reject("history", "no '{}' in epoch {}", name, e.epoch);
    series.push_back(*found);
  }
  return series;
}

struct Trainer::Impl {
  Impl(Model m, TrainerOptions o) : model(std::move(m)), options(std::move(o)) {}

  Program& program(const Dataset& data) {
    if (!compiled) {
      CompileOptions c;
      c.inputs = specs_of(data.inputs());
      c.targets = specs_of(data.targets());
      c.loss = options.loss;
      c.optimizer = options.optimizer;
      c.metrics = options.metrics;
      c.clip_norm = options.clip_norm;
      c.accumulate = options.accumulate;
      c.frozen = options.frozen;
      c.groups = options.groups;
      c.loss_scale = options.loss_scale;
      c.run = {.device = options.device,
               .precision = options.precision,
               .providers = options.providers,
               .threads = options.threads,
               .seed = options.seed,
               .fuse = options.fuse,
               .tune = options.tune};
      compiled.emplace(compile(model, std::move(c)));
    }
    return *compiled;
  }

  Evaluation evaluate(const Dataset& data, std::int64_t batch_size) {
    Program& p = program(data);
    Means means;
    if (const auto resident = ResidentSteps::make(p, data, {.shuffle = false})) {
      for (std::int64_t at = 0; at < data.size();) {
        const Sweep sweep = next_steps(at, data.size(), batch_size, StepBlock::most_steps);
        resident->evaluate(at, sweep.batch, sweep.count);
        for (int i = 0; i < sweep.count; ++i) means.add(resident->result(i), sweep.batch);
        at += sweep.batch * sweep.count;
      }
      return {means.loss(), means.metrics(), means.examples()};
    }
    Loader loader(data, {.batch_size = batch_size, .shuffle = false});
    loader.start_epoch(0);
    while (const Batch* batch = loader.next()) means.add(p.evaluate(*batch), batch->size);
    return {means.loss(), means.metrics(), means.examples()};
  }

  Model model;
  TrainerOptions options;
  std::optional<Program> compiled;
};

Trainer::Trainer(Model model, TrainerOptions options)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

Program& Trainer::program(const Dataset& data) { return impl_->program(data); }
Model& Trainer::model() { return impl_->model; }
Evaluation Trainer::evaluate(const Dataset& data, std::int64_t batch_size) { return impl_->evaluate(data, batch_size); }

Array Trainer::predict(const Array& x, std::int64_t batch_size) {
  if (!impl_->compiled) reject("trainer", "predict() expects a fit() or evaluate() before, which give the shapes");
  const std::int64_t n = x.shape()[0];
  Array result;
  for (std::int64_t begin = 0; begin < n; begin += batch_size) {
    const Array y = impl_->compiled->predict({x.rows(begin, std::min(n, begin + batch_size))}).at(0);
    if (result.empty()) result = Array(y.dtype(), y.shape().with(0, n));
    Array part = result.rows(begin, begin + y.shape()[0]);
    std::copy_n(y.bytes(), y.spec().bytes(), part.bytes());
  }
  return result;
}

History Trainer::fit(const Dataset& data, FitOptions o) {
  if (o.batch_size < 1) reject("fit", "batch_size is 1 or more, found {}", o.batch_size);
  if (o.epochs < 0) reject("fit", "epochs are 0 or more, found {}", o.epochs);
  Program& program = impl_->program(data);
  const bool by_updates = o.updates > 0;
  const SampleOrder order{.seed = impl_->options.seed, .shuffle = o.shuffle, .continuous = by_updates};
  // Where the data can stay on the device, minibatches are gathered there; else the host gathers them.
  const std::unique_ptr<ResidentSteps> resident = ResidentSteps::make(program, data, order);
  std::optional<Loader> loader;
  if (resident == nullptr)
    loader.emplace(data, LoaderOptions{.batch_size = o.batch_size,
                                       .shuffle = order.shuffle,
                                       .seed = order.seed,
                                       .continuous = order.continuous,
                                       .busy_threads = program.host_threads()});
  const bool one_by_one = std::ranges::any_of(o.hooks, [](const Hook* h) { return h->every_step(); });
  TrainControl control;
  control.save_ = [this](const std::string& path) { tenon::save(impl_->model, path); };
  RecordBlock block(o.hooks, control);
  Overflows overflows;
  const auto begin = Clock::now();
  const auto stopped = [&] { return control.stopped_; };
  History history;
  std::int64_t step = 0;
  for (Hook* hook : o.hooks) hook->on_begin((data.size() - 1) / o.batch_size + 1, o.epochs);
  if (by_updates && loader) loader->start_epoch(0);

  for (std::int32_t epoch = 0; epoch < o.epochs && !stopped(); ++epoch) {
    const auto epoch_begin = Clock::now();
    if (!by_updates && loader) loader->start_epoch(static_cast<std::uint32_t>(epoch));
    program.start_epoch(static_cast<std::uint32_t>(epoch));
    Means means;
    std::int64_t steps = 0;
    // By updates an epoch ends with the minibatch that completes a sweep; it may reach into the next.
    const auto sweep_done = [&] { return by_updates && (step * o.batch_size) / data.size() > epoch; };
    const auto note = [&](const StepResult& r, std::int64_t examples, float lr) {
      means.add(r, examples);
      block.add({step++, epoch, examples, r.loss, r.metrics, lr});
      ++steps;
      if (!overflows.note(r, step - 1, control)) {
        history.summary.halted = true;
        return false;
      }
      if (!r.halted || !o.stop_on_nan) return true;
      control.stop(
          fmt::format("loss is {} at step {}", std::isnan(r.loss) ? "nan" : fmt::format("{}", r.loss), step - 1));
      history.summary.halted = true;
      return false;
    };
    std::int64_t at = 0;  // in the epoch
    while (!stopped() && !sweep_done() && !(by_updates && step >= o.updates)) {
      if (control.lr_) program.set_learning_rate(control.lr_);
      if (resident != nullptr) {
        if (!by_updates && at == data.size()) break;
        std::int64_t most = one_by_one ? 1 : StepBlock::most_steps;
        // Up to the step that completes the sweep, see sweep_done.
        if (by_updates)
          most = std::min({most, o.updates - step, ((epoch + 1) * data.size() - 1) / o.batch_size + 1 - step});
        const Sweep next =
            by_updates ? Sweep{o.batch_size, static_cast<int>(most)} : next_steps(at, data.size(), o.batch_size, most);
        resident->train(by_updates ? step * o.batch_size : at, next.batch, next.count);
        at += next.batch * next.count;
        for (int i = 0; i < next.count; ++i)
          if (!note(resident->result(i), next.batch, resident->learning_rate(i))) break;
        continue;
      }
      const Batch* batch = loader->next();
      if (batch == nullptr) break;
      const float lr = program.learning_rate();
      note(program.step(*batch), batch->size, lr);
    }
    block.flush();
    EpochRecord e{.epoch = epoch,
                  .epochs = o.epochs,
                  .steps = steps,
                  .examples = means.examples(),
                  .loss = means.loss(),
                  .metrics = means.metrics(),
                  .learning_rate = program.learning_rate()};
    if (o.validation && !stopped()) {
      const Evaluation v = impl_->evaluate(*o.validation, o.validation_batch > 0 ? o.validation_batch : o.batch_size);
      e.validation_loss = v.loss;
      e.validation_metrics = v.metrics;
    }
    e.seconds = seconds_since(epoch_begin);
    for (Hook* hook : o.hooks) hook->on_epoch(e, control);
    history.epochs.push_back(std::move(e));
  }
  history.summary.stopped_early = control.stopped_;
  history.summary.reason = control.reason_;
  history.summary.steps = step;
  history.summary.skipped = overflows.count();
  history.summary.seconds = seconds_since(begin);
  for (Hook* hook : o.hooks) hook->on_end(history.summary);
  return history;
}

}  // namespace tenon
