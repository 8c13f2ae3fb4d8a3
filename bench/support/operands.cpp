// Operands of the problems. What a fused contraction saves for its gradient is drawn with a stated share of live terms: the
// speed of kernels that skip dead terms depends on it, and a fresh model's share is not that of a trained one.
#include "bench/support/problems.hpp"
#include "lib/runtime/scratch_operands.hpp"

namespace tenon::bench {

constexpr std::uint64_t seed = 7;

double alive_share(const BenchProblem& p, double alive) { return tenon::alive_share(p.form.op, alive); }

std::vector<Array> draw_operands(const BenchProblem& p, double alive) {
  tests::Case form = p.form;
  // What is drawn below need not be computed first.
  const bool gated = gate_of(form.op) != nullptr;
  if (gated)
    form.fill[2] =
        form.in[2].dtype == DType::u8 ? tests::Fill{.kind = tests::Fill::Kind::labels, .bound = 1} : tests::Fill{};
  std::vector<Array> in = tests::make_inputs(form, seed);
  if (gated) draw_saved(p.form.op, in[2], alive);
  return in;
}

}  // namespace tenon::bench
