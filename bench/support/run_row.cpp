// Calls of one kernel.
#include "bench/support/run_row.hpp"

#include <chrono>

#include "lib/train/row_check.hpp"

namespace tenon::bench {

Operands::Operands(const BenchProblem& p, double alive) : in(draw_operands(p, alive)) {
  for (Array& a : in) in_pointers.push_back(a.bytes());
  for (int i = 0; i < p.problem.outs; ++i) {
    const int shared = shared_input(p.problem, i);
    if (shared < 0) out.emplace_back(p.problem.out[i]);
    out_pointers.push_back(shared < 0 ? out.back().bytes() : in[static_cast<std::size_t>(shared)].bytes());
  }
}

BoundRow::BoundRow(std::string provider, Step step, std::shared_ptr<Operands> operands, int threads)
    : provider_(std::move(provider)),
      step_(std::move(step)),
      operands_(std::move(operands)),
      control_(std::make_unique<Control>()) {
  if (step_.workspace > 0) workspace_ = Array(DType::u8, {static_cast<std::int64_t>(step_.workspace)});
  *control_ = tests::make_control(1);
  call_.in = operands_->in_pointers.data();
  call_.out = operands_->out_pointers.data();
  call_.workspace = workspace_.bytes();
  call_.control = control_.get();
  call_.state = step_.state.get();
  call_.threads = threads;
}

double BoundRow::seconds(std::int64_t calls) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  for (std::int64_t i = 0; i < calls; ++i) run();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace tenon::bench
