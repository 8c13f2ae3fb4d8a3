// replay: the steps in order, with addresses resolved beforehand.
#include <omp.h>

#include <algorithm>
#include <atomic>

#include "lib/runtime/plan.hpp"
#include "tenon/log.hpp"

namespace tenon {

const std::byte* Runner::address(const Home& home) const {
  if (home.space == Space::constant) return plan_->constants[static_cast<std::size_t>(home.offset)].bytes();
  if (home.space == Space::input) return last_inputs_[static_cast<std::size_t>(home.offset)];
  return slabs_[home.space] + home.offset;
}

void Runner::bind(const Slabs& slabs) {
  slabs_ = slabs;
  in_.clear();
  out_.clear();
  patches_.clear();
  std::size_t inputs = 0;
  for (const PlanStep& s : plan_->steps) {
    for (const Home& h : s.in) {
      if (h.space == Space::input) {
        patches_.push_back({in_.size(), static_cast<std::size_t>(h.offset)});
        inputs = std::max(inputs, static_cast<std::size_t>(h.offset) + 1);
      }
      in_.push_back(h.space == Space::input ? nullptr : address(h));
    }
    for (const Home& h : s.out) out_.push_back(slabs_[h.space] + h.offset);
  }
  last_inputs_.assign(inputs, nullptr);
}

void Runner::run(const std::vector<const std::byte*>& inputs, Control& control, int threads) {
  static const bool timed = detail::verbose("time");
  last_inputs_ = inputs;
  for (const Patch& p : patches_) in_[p.slot] = inputs[p.input];
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
    if (timed) {
      const double begin = omp_get_wtime();
      s.step.run(call);
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

}  // namespace tenon
