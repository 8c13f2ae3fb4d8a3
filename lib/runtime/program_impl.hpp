// What a compiled model holds: slabs, control block, and plans by (mode, batch) over one arena.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "lib/runtime/compile_plan.hpp"
#include "lib/runtime/slab.hpp"
#include "lib/runtime/tune.hpp"
#include "tenon/backend.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// A plan with its runner; both stay where they are, the runner points at the plan.
struct Compiled {
  Compiled(Plan p, Backend& device) : plan(std::move(p)), runner(plan, device) {}
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  /// A scalar after a run.
  [[nodiscard]] double scalar(const Readable& r) const {
    if (r.spec.dtype == DType::f64) return read<double>(r.home);
    return static_cast<double>(read<float>(r.home));
  }
  [[nodiscard]] Array array(const Readable& r) const {
    Array a(r.spec);
    runner.read(r.home, a.bytes(), r.spec.bytes());
    return a;
  }
  Plan plan;
  Runner runner;

 private:
  template <class T>
  [[nodiscard]] T read(const Home& home) const {
    T value{};
    runner.read(home, &value, sizeof value);
    return value;
  }
};

/// What Control::halt says of a step.
inline void note_halt(StepResult& r, std::uint32_t halt) {
  r.halted = (halt & ~Control::overflow) != 0;
  r.overflowed = !r.halted && halt != 0;
}

struct Program::Impl {
  Impl(Model, CompileOptions);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  /// Slabs of gradients and of the optimizer's state.
  void allocate();
  [[nodiscard]] Slabs slabs();
  /// The plan, made if need be.
  Compiled& compiled(PlanMode mode, std::int64_t batch);
  /// Collects the addresses of a batch after checking it against the declared inputs; its size.
  std::int64_t feed(const std::vector<Array>& inputs, const std::vector<Array>* targets);
  Compiled& run(PlanMode mode, std::int64_t batch);
  /// Throws DataError where a label or id of the last run was out of range; `halted_before` is as it was before.
  void check_labels(std::uint32_t halted_before, std::int64_t batch);
  StepResult read(const Compiled&);
  [[nodiscard]] float next_lr() const { return lr_at(control.updates); }
  /// Of the update that comes after so many.
  [[nodiscard]] float lr_at(std::uint32_t updates) const {
    return lr_override ? *lr_override : tenon::learning_rate(options.optimizer).at(updates);
  }

  Model model;
  CompileOptions options;
  Backend& device;
  int threads;
  RowSet rows;
  std::unique_ptr<Tuner> tuner;  // null unless the options ask for it
  Peak peak;
  Control control;
  std::optional<float> lr_override;
  Slab gradients, accumulated, state[3], arena;
  std::map<std::pair<PlanMode, std::int64_t>, std::unique_ptr<Compiled>> plans;
  Compiled* last = nullptr;
  std::vector<const std::byte*> addresses;
  std::vector<NamedValue> values;

 private:
  void add(const std::vector<Array>& arrays, const std::vector<InputSpec>& specs, const char* what,
           std::int64_t& batch);
};

}  // namespace tenon
