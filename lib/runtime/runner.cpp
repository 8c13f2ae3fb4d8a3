// replay: the steps in order, with addresses resolved beforehand.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
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
  find_accesses();
}

namespace {

constexpr AccessKind reads = AccessKind::read, writes = AccessKind::write, marks = AccessKind::mark;

Access field(Control* control, std::size_t begin, std::size_t end, AccessKind kind) {
  return {reinterpret_cast<const std::byte*>(control) + begin, reinterpret_cast<const std::byte*>(control) + end, kind};
}

/// Nothing for ControlUse::none.
std::vector<Access> accesses_of(ControlUse use, Control* control) {
  switch (use) {
    case ControlUse::none:
      return {};
    case ControlUse::counts:
      return {field(control, 0, offsetof(Control, updates), reads)};
    case ControlUse::marks:
      return {field(control, offsetof(Control, halt), sizeof(Control), marks)};
    case ControlUse::obeys:
      return {field(control, 0, sizeof(Control), reads)};
    case ControlUse::all:
      break;
  }
  return {field(control, 0, sizeof(Control), writes)};
}

}  // namespace

void Runner::find_accesses() {
  accesses_.clear();
  std::size_t in = 0, out = 0;
  for (const PlanStep& s : plan_->steps) {
    std::vector<Access> list = accesses_of(s.control, device_run_->control());
    for (const std::int64_t bytes : s.in_bytes) list.push_back(access_to(in_[in++], bytes, reads));
    for (const std::int64_t bytes : s.out_bytes) list.push_back(access_to(out_[out++], bytes, writes));
    if (s.workspace >= 0)
      list.push_back(
          access_to(slabs_[Space::arena] + s.workspace, static_cast<std::int64_t>(s.step.workspace), writes));
    accesses_.push_back(std::move(list));
  }
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

void Runner::run_block(const BlockFeed& feed, bool training, StepBlock& block, Control& control, int threads,
                       int count) {
  const StepBlockLoops loops = device_->step_block_loops();
  std::vector<void*> inputs;
  for (std::size_t i = 0; i < plan_->input_bytes.size(); ++i) inputs.push_back(device_run_->input(i));
  std::vector<const void*> scalars{address(plan_->loss.home)};
  for (const Readable& r : plan_->metrics) scalars.push_back(address(r.home));
  const AdvanceGeometry advance{static_cast<std::int32_t>(scalars.size()), training};
  device_run_->run_block(feed.number, block, control, count, [&](StepBlock* on_device, int number) {
    Control* const there = device_run_->control();
    // Which samples a step has does not depend on the steps before it: they are fetched while those still run.
    std::vector<Access> fed{access_to(&on_device->next_sample, sizeof on_device->next_sample, reads),
                            field(there, 0, offsetof(Control, step), reads)};
    for (std::size_t i = 0; i < inputs.size(); ++i) fed.push_back(access_to(inputs[i], plan_->input_bytes[i], writes));
    std::vector<Access> noted{access_to(&on_device->done, sizeof(StepBlock) - offsetof(StepBlock, done), writes),
                              field(there, offsetof(Control, step), sizeof(Control), training ? writes : reads)};
    for (const void* scalar : scalars) noted.push_back(access_to(scalar, sizeof(float), reads));

    device_run_->piece(fed);
    Call call{.in = feed.columns.data(),
              .out = inputs.data(),
              .workspace = on_device,
              .control = there,
              .state = &feed.geometry,
              .threads = threads,
              .stream = device_->stream(),
              .first_sample = number * feed.geometry.batch};
    loops.feed(call);
    run_steps(*there, threads);
    device_run_->piece(noted);
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
  for (std::size_t i = 0; i < plan_->steps.size(); ++i) {
    PlanStep& s = plan_->steps[i];
    if (device_run_ != nullptr) device_run_->piece(accesses_[i]);
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
