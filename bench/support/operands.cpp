// Operands of the problems. What a fused contraction saves for its gradient is drawn with a stated share of live terms: the
// speed of kernels that skip dead terms depends on it, and a fresh model's share is not that of a trained one.
#include <algorithm>
#include <random>

#include "bench/support/problems.hpp"

namespace tenon::bench {
namespace {

constexpr std::uint64_t seed = 7;
constexpr double alive_mask = 0.25, alive_relu = 0.5;

/// The epilogue that a gradient undoes; nullptr for any other operation.
const op::Epilogue* undone(const op::AnyOp& any) {
  if (const auto* g = std::get_if<op::Conv2dGradInput>(&any)) return &g->forward.epilogue;
  if (const auto* g = std::get_if<op::Conv2dGradFilter>(&any)) return &g->forward.epilogue;
  if (const auto* g = std::get_if<op::MatMulGradA>(&any)) return &g->forward.epilogue;
  if (const auto* g = std::get_if<op::MatMulGradB>(&any)) return &g->forward.epilogue;
  return nullptr;
}

void draw_mask(Array& mask, double share, bool pool) {
  std::mt19937_64 rng(seed);
  std::bernoulli_distribution lives(share);
  std::uniform_int_distribution<int> winner(0, 3);
  for (std::uint8_t& byte : mask.values<std::uint8_t>())
    byte = !lives(rng) ? op::Epilogue::killed : static_cast<std::uint8_t>(pool ? winner(rng) : 0);
}

void gate(Array& y, double share) {
  std::mt19937_64 rng(seed);
  std::bernoulli_distribution lives(share);
  for (float& v : y.values<float>()) v = lives(rng) ? v : 0.f;
}

}  // namespace

double alive_share(const BenchProblem& p, double alive) {
  const op::Epilogue* e = undone(p.form.op);
  if (e == nullptr || !e->gradient_reads_saved()) return 1;
  if (e->pool) return std::min(alive, 0.25);
  if (e->saves_mask()) return alive_mask;
  return e->activation == op::UnaryFn::relu ? alive_relu : 1;
}

std::vector<Array> draw_operands(const BenchProblem& p, double alive) {
  const op::Epilogue* e = undone(p.form.op);
  if (e == nullptr || !e->gradient_reads_saved()) return tests::make_inputs(p.form, seed);
  tests::Case form = p.form;
  form.fill[2] =
      e->saves_mask() ? tests::Fill{.kind = tests::Fill::Kind::labels, .bound = 4} : tests::Fill{.low = 0.1, .high = 1};
  std::vector<Array> in = tests::make_inputs(form, seed);
  const double share = alive_share(p, alive);
  // A pooled byte stands for four elements of which one can be alive.
  if (e->saves_mask())
    draw_mask(in[2], e->pool ? 4 * share : share, e->pool);
  else
    gate(in[2], share);
  return in;
}

}  // namespace tenon::bench
