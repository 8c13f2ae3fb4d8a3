// Calls of one kernel.
#include "bench/support/run_row.hpp"

#include <algorithm>
#include <chrono>

#include "lib/train/row_check.hpp"

namespace tenon::bench {
namespace {

constexpr std::int64_t most_recorded = Operands::most_copies;  // calls of one recording

/// Bytes of a problem's inputs, and of the outputs that have memory of their own.
std::size_t bytes_of_copy(const Problem& p) {
  std::size_t bytes = 0;
  for (int i = 0; i < p.ins; ++i) bytes += p.in[i].bytes();
  for (int i = 0; i < p.outs; ++i)
    if (shared_input(p, i) < 0) bytes += p.out[i].bytes();
  return bytes;
}
std::size_t copies_when_cold(const Problem& p) {
  return Operands::cold_bytes / std::max<std::size_t>(bytes_of_copy(p), 1) + 1;
}

}  // namespace

bool Operands::can_be_cold(const BenchProblem& p) {
  return copies_when_cold(p.problem) <= static_cast<std::size_t>(most_copies);
}

Operands::Operands(Backend& d, const BenchProblem& p, double alive, Caches caches) : device(d) {
  const std::vector<Array> values = draw_operands(p, alive);
  copies.resize(caches == Caches::warm ? 1 : copies_when_cold(p.problem));
  for (Copy& copy : copies) {
    const std::size_t first = memory.size();
    for (const Array& a : values) {
      memory.emplace_back(device, a.spec().bytes());
      if (a.spec().bytes() > 0) device.upload(memory.back().data(), a.bytes(), a.spec().bytes());
      copy.in.push_back(memory.back().data());
    }
    for (int i = 0; i < p.problem.outs; ++i) {
      const int shared = shared_input(p.problem, i);
      if (shared < 0) memory.emplace_back(device, p.problem.out[i].bytes());
      copy.out.push_back(shared < 0 ? memory.back().data() : memory[first + static_cast<std::size_t>(shared)].data());
    }
  }
  device.synchronize();
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
  call_.workspace = workspace_.data();
  call_.control = reinterpret_cast<Control*>(control_.data());
  call_.state = step_.state.get();
  call_.threads = threads;
  call_.stream = device.stream();
}

void BoundRow::run() {
  const Operands::Copy& copy = operands_->copies[turn_];
  call_.in = copy.in.data();
  call_.out = copy.out.data();
  step_.run(call_);
  turn_ = turn_ + 1 < operands_->copies.size() ? turn_ + 1 : 0;
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
  // Whole rounds of the copies: a copy's turn comes after all others, within a recording and from one to the next.
  const auto copies = static_cast<std::int64_t>(operands_->copies.size());
  const std::int64_t together = copies * std::max<std::int64_t>(1, std::min(calls, most_recorded) / copies);
  const std::int64_t times = (calls + together - 1) / together;
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
