// The problems of the benchmarks: what both MNIST models do in a step, fused and apart, and every other operation at a size
// that leaves the first caches. Forms and operands come from the tests' cases.
#pragma once
#include <string>
#include <vector>

#include "tenon/rules.hpp"
#include "tests/cases.hpp"

namespace tenon::bench {

struct BenchProblem {
  std::string name;  // conv2d/conv2_mnist
  tests::Case form;
  Problem problem;
  Cost cost;
};

/// A problem from a case, named operation/label.
[[nodiscard]] BenchProblem make_bench_problem(const std::string& label, tests::Case form);

[[nodiscard]] std::vector<BenchProblem> mnist_problems();
[[nodiscard]] std::vector<BenchProblem> general_problems();
/// What keeps the whole of a large GPU busy, and a CPU for a second.
[[nodiscard]] std::vector<BenchProblem> large_problems();
/// The tests' own list: so small that a run is the cost of a call.
[[nodiscard]] std::vector<BenchProblem> test_problems();

/// Operations whose limit is arithmetic: conv2d, matmul and their gradients. That of all others is memory.
[[nodiscard]] bool is_contraction(op::Kind kind);

/// Share of the terms of a gradient that are alive, as draw_operands() draws them; 1 where nothing gates them.
///   after a 2x2 pool            `alive`, at most a quarter, since a window has one winner
///   mask without a pool         0.25: relu and a dropout of one half
///   relu, read from the output  0.5
[[nodiscard]] double alive_share(const BenchProblem&, double alive);
/// Operands, the same in every run. Masks of fused contractions are drawn, not computed.
[[nodiscard]] std::vector<Array> draw_operands(const BenchProblem&, double alive);

}  // namespace tenon::bench
