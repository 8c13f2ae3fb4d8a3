// Calls of one kernel.
#include "bench/support/run_row.hpp"

#include <algorithm>
#include <chrono>
#include <random>

#include "lib/train/row_check.hpp"

namespace tenon::bench {
namespace {

constexpr std::int64_t most_recorded = 1000;  // calls of one recording: making one costs about a microsecond a call

}  // namespace

Operands::Operands(Backend& d, const BenchProblem& p, double alive) : device(d) {
  const std::vector<Array> values = draw_operands(p, alive);
  for (const Array& a : values) {
    memory.emplace_back(device, a.spec().bytes());
    if (a.spec().bytes() > 0) device.upload(memory.back().data(), a.bytes(), a.spec().bytes());
    in.push_back(memory.back().data());
  }
  device.synchronize();
  add_outputs(p.problem);
}

Operands::Operands(Backend& d, const Problem& p) : device(d) {
  // Not zeros: a GPU draws less power on them, and is quicker than it would be on what a training has.
  std::vector<float> piece(1 << 18);
  std::minstd_rand random(7);
  std::uniform_real_distribution<float> draw(-1.f, 1.f);
  for (float& x : piece) x = draw(random);
  const std::size_t piece_bytes = piece.size() * sizeof(float);
  for (int i = 0; i < p.ins; ++i) {
    const std::size_t bytes = p.in[i].bytes();
    memory.emplace_back(device, bytes);
    for (std::size_t at = 0; at < bytes; at += piece_bytes)
      device.upload(memory.back().data() + at, piece.data(), std::min(piece_bytes, bytes - at));
    in.push_back(memory.back().data());
  }
  device.synchronize();
  add_outputs(p);
}

void Operands::add_outputs(const Problem& p) {
  for (int i = 0; i < p.outs; ++i) {
    const int shared = shared_input(p, i);
    if (shared < 0) memory.emplace_back(device, p.out[i].bytes());
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

std::int64_t BoundRow::calls_for(double least_seconds) {
  (void)seconds(1);  // first touch of workspace and code
  double one = seconds(1);
  // On a device, one call is mostly the start of the replay: once more with enough calls to see what they add.
  if (!operands_->device.on_host() && one < least_seconds / 2) one = std::min(one, seconds(20) / 20);
  return 1 + static_cast<std::int64_t>(least_seconds / std::max(one, 1e-8));
}

}  // namespace tenon::bench
