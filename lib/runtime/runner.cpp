// replay: the steps in order, with addresses resolved beforehand.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lib/runtime/device_run.hpp"
#include "lib/runtime/plan.hpp"
#include "tenon/log.hpp"

namespace tenon {

Runner::Runner(Plan& plan, Backend& device) : plan_(&plan), device_(&device) {
  if (!device.on_host()) device_run_ = std::make_unique<DeviceRun>(device, plan);
}
Runner::~Runner() = default;

const std::byte* Runner::address(const Home& home) const {
  const auto number = static_cast<std::size_t>(home.offset);
  if (home.space == Space::constant)
    return device_run_ != nullptr ? device_run_->constant(number) : plan_->constants[number].bytes();
  if (home.space == Space::input) return device_run_ != nullptr ? device_run_->input(number) : last_inputs_[number];
  return slabs_[home.space] + home.offset;
}

void Runner::bind(const Slabs& slabs) {
  slabs_ = slabs;
  in_.clear();
  out_.clear();
  patches_.clear();
  for (const PlanStep& s : plan_->steps) {
    for (const Home& h : s.in) {
      const bool comes_later = h.space == Space::input && device_run_ == nullptr;
      if (comes_later) patches_.push_back({in_.size(), static_cast<std::size_t>(h.offset)});
      in_.push_back(comes_later ? nullptr : address(h));
    }
    for (const Home& h : s.out) out_.push_back(slabs_[h.space] + h.offset);
  }
  last_inputs_.assign(plan_->input_bytes.size(), nullptr);
  if (device_run_ == nullptr) return;
  std::vector<std::pair<Home, const std::byte*>> scalars;
  const auto add = [&](const Readable& r) {
    if (r.spec.shape.elements() == 1) scalars.emplace_back(r.home, address(r.home));
  };
  if (!plan_->loss.name.empty()) add(plan_->loss);
  for (const Readable& r : plan_->metrics) add(r);
  device_run_->bind(std::move(scalars));
}

void Runner::run(const std::vector<const std::byte*>& inputs, Control& control, int threads) {
  if (device_run_ != nullptr) {
    device_run_->run(inputs, control, [&] { run_steps(*device_run_->control(), threads); });
    return;
  }
  last_inputs_ = inputs;
  for (const Patch& p : patches_) in_[p.slot] = inputs[p.input];
  run_steps(control, threads);
}

void Runner::run_block(const BlockFeed& feed, bool training, StepBlock& block, Control& control, int threads, int count) {
  const StepBlockLoops loops = device_->step_block_loops();
  std::vector<void*> inputs;
  for (std::size_t i = 0; i < plan_->input_bytes.size(); ++i) inputs.push_back(device_run_->input(i));
  std::vector<const void*> scalars{address(plan_->loss.home)};
  for (const Readable& r : plan_->metrics) scalars.push_back(address(r.home));
  const AdvanceGeometry advance{static_cast<std::int32_t>(scalars.size()), feed.geometry.batch, training};
  device_run_->run_block(feed.number, block, control, count, [&](StepBlock* on_device) {
    Call call{.in = feed.columns.data(),
              .out = inputs.data(),
              .workspace = on_device,
              .control = device_run_->control(),
              .state = &feed.geometry,
              .threads = threads,
              .stream = device_->stream()};
    loops.feed(call);
    run_steps(*device_run_->control(), threads);
    call.in = scalars.data();
    call.out = nullptr;
    call.state = &advance;
    loops.advance(call);
  });
}

void Runner::run_steps(Control& control, int threads) {
  static const bool timed = detail::verbose("time");
  const void* const* in = in_.data();
  void* const* out = out_.data();
  for (PlanStep& s : plan_->steps) {
    Call call;
    call.in = in;
    call.out = out;
    call.workspace = s.workspace < 0 ? nullptr : slabs_[Space::arena] + s.workspace;
    call.control = &control;
    call.state = s.step.state.get();
    call.threads = threads;
    call.stream = device_->stream();
    if (timed) {
      device_->synchronize();
      const double begin = omp_get_wtime();
      s.step.run(call);
      device_->synchronize();
      // A predictor's plan runs on many threads at once.
      std::atomic_ref(s.seconds).fetch_add(omp_get_wtime() - begin, std::memory_order_relaxed);
      std::atomic_ref(s.runs).fetch_add(1, std::memory_order_relaxed);
    } else {
      s.step.run(call);
    }
    in += s.in.size();
    out += s.out.size();
  }
}

void Runner::read(const Home& home, void* to, std::size_t bytes) const {
  if (device_run_ != nullptr)
    device_run_->read(home, address(home), to, bytes);
  else
    std::memcpy(to, address(home), bytes);
}

}  // namespace tenon
