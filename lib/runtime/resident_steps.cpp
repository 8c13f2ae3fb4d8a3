// Data to the device once; then blocks of steps.
#include "lib/runtime/resident_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "lib/runtime/program_impl.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

std::vector<const Column*> columns_of(const Dataset& data) {
  std::vector<const Column*> list;
  for (const auto* named : {&data.inputs(), &data.targets()})
    for (const auto& [name, column] : *named) list.push_back(&column);
  return list;
}

bool gathers(const Column& c) {
  const DType d = c.data.dtype();
  return d == DType::u8 || d == DType::i32 || d == DType::f32;
}

}  // namespace

std::unique_ptr<ResidentSteps> ResidentSteps::make(Program& program, const Dataset& data, SampleOrder order) {
  const Program::Impl& p = *program.impl_;
  const std::vector<const Column*> columns = columns_of(data);
  if (data.size() < 1 || p.device.step_block_loops().feed == nullptr || p.options.accumulate > 1 ||
      p.options.metrics.size() + 1 > std::size_t{StepBlock::most_values} ||
      columns.size() > std::size_t{FeedGeometry::most_columns} ||
      !std::ranges::all_of(columns, [](const Column* c) { return gathers(*c); }))
    return nullptr;
  try {
    return std::unique_ptr<ResidentSteps>(new ResidentSteps(program, data, order));
  } catch (const DeviceError& e) {
    detail::log(LogLevel::info, fmt::format("[data] minibatches come from the host: {}", e.what()));
    return nullptr;
  }
}

ResidentSteps::ResidentSteps(Program& program, const Dataset& data, SampleOrder order) : program_(&program) {
  static std::atomic<std::uint64_t> feeds{0};
  feed_.number = ++feeds;
  Backend& device = program.impl_->device;
  FeedGeometry& g = feed_.geometry;
  g.samples = data.size();
  g.seed = order.seed;
  g.shuffle = order.shuffle;
  g.continuous = order.continuous;
  const std::lock_guard lock(device.mutex());
  for (const Column* c : columns_of(data)) {
    const Shape& shape = c->data.shape();
    g.width[g.columns] = shape.product(1, shape.rank());
    g.from[g.columns] = c->data.dtype();
    g.to[g.columns] = c->batch_spec(1).dtype;
    g.divisor[g.columns++] = c->divisor;
    const std::size_t bytes = c->data.spec().bytes();
    columns_.emplace_back(device, bytes);
    if (bytes > 0) device.upload(columns_.back().data(), c->data.bytes(), bytes);
    feed_.columns.push_back(columns_.back().data());
  }
  device.synchronize();
}

void ResidentSteps::run(bool training, std::int64_t first, std::int64_t batch, int count) {
  Program::Impl& p = *program_->impl_;
  Compiled& c = p.compiled(training ? PlanMode::train : PlanMode::evaluate, batch);
  p.last = &c;
  values_.resize(c.plan.metrics.size());
  for (std::size_t i = 0; i < values_.size(); ++i) values_[i].name = c.plan.metrics[i].name;
  feed_.geometry.batch = batch;
  block_.next_sample = first;
  block_.done = block_.updated = 0;
  for (int i = 0; i < count; ++i) block_.lr[i] = p.lr_at(p.control.updates + static_cast<std::uint32_t>(i));
  p.control.lr = block_.lr[0];
  const std::uint32_t halted_before = p.control.halt;
  (void)p.model.parameters().on_device(p.device);
  c.runner.run_block(feed_, training, block_, p.control, p.threads, count);
  if (training) p.model.parameters().changed_on(p.device);
  p.check_labels(halted_before, batch);
}

float ResidentSteps::learning_rate(int i) const {
  return block_.lr[std::count(block_.halt, block_.halt + i, 0u)];  // of the updates before it
}

StepResult ResidentSteps::result(int i) {
  StepResult r;
  r.loss = static_cast<double>(block_.value[i][0]);
  for (std::size_t v = 0; v < values_.size(); ++v) values_[v].value = static_cast<double>(block_.value[i][v + 1]);
  r.metrics = values_;
  note_halt(r, block_.halt[i]);
  r.updated = block_.halt[i] == 0;
  return r;
}

}  // namespace tenon
