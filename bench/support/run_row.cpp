// Calls of one kernel.
#include "bench/support/run_row.hpp"

#include <algorithm>
#include <chrono>

#include "lib/train/row_check.hpp"

namespace tenon::bench {
namespace {

constexpr std::int64_t most_recorded = 500;  // calls of one recording

}  // namespace

Operands::Operands(Backend& d, const BenchProblem& p, double alive) : device(d) {
  const std::vector<Array> values = draw_operands(p, alive);
  for (const Array& a : values) {
    memory.emplace_back(device, a.spec().bytes());
    if (a.spec().bytes() > 0) device.upload(memory.back().data(), a.bytes(), a.spec().bytes());
    in.push_back(memory.back().data());
  }
  device.synchronize();
  for (int i = 0; i < p.problem.outs; ++i) {
    const int shared = shared_input(p.problem, i);
    if (shared < 0) memory.emplace_back(device, p.problem.out[i].bytes());
    out.push_back(shared < 0 ? memory.back().data() : memory[static_cast<std::size_t>(shared)].data());
  }
}

BoundRow::BoundRow(std::string provider, Step step, std::shared_ptr<Operands> operands, int threads)
    : provider_(std::move(provider)),
      step_(std::move(step)),
      operands_(std::move(operands)),
      workspace_(operands_->device, step_.workspace),
      control_(operands_->device, sizeof(Control)) {
  Backend& device = operands_->device;
  const Control control = tests::make_control(1);
  device.upload(control_.data(), &control, sizeof control);
  device.synchronize();
  call_.in = operands_->in.data();
  call_.out = operands_->out.data();
  call_.workspace = workspace_.data();
  call_.control = reinterpret_cast<Control*>(control_.data());
  call_.state = step_.state.get();
  call_.threads = threads;
  call_.stream = device.stream();
}

double BoundRow::seconds(std::int64_t calls) {
  using Clock = std::chrono::steady_clock;
  Backend& device = operands_->device;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  if (device.on_host()) {
    const auto begin = Clock::now();
    for (std::int64_t i = 0; i < calls; ++i) run();
    return since(begin);
  }
  const std::int64_t together = std::min(calls, most_recorded), times = (calls + together - 1) / together;
  if (recorded_ != together) {
    run();  // what a first run prepares cannot be recorded
    device.synchronize();
    device.begin_capture();
    for (std::int64_t i = 0; i < together; ++i) run();
    recording_ = device.end_capture();
    recorded_ = together;
  }
  device.synchronize();
  const auto begin = Clock::now();
  for (std::int64_t i = 0; i < times; ++i) device.replay(recording_.get());
  device.synchronize();
  return since(begin) * static_cast<double>(calls) / static_cast<double>(times * together);
}

}  // namespace tenon::bench
