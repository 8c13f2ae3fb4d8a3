// One list of problems that gradient checks, kernel comparisons and benchmarks all iterate, a generator of random ones that
// aims at the edges a kernel declares, and operands that fit them.
#pragma once
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tenon/array.hpp"
#include "tenon/kernel.hpp"
#include "tenon/op.hpp"

namespace tenon::tests {

/// How an operand is filled.
struct Fill {
  enum class Kind : std::uint8_t {
    uniform,       // [low, high)
    distribution,  // rows of positive numbers that sum to 1
    labels,        // integers in [0, bound)
    saved          // what the forward operation saves for its gradient: a mask, winners, its output
  };
  Kind kind = Kind::uniform;
  double low = -1, high = 1;
  std::int64_t bound = 0;
  bool constant = false;  // not differentiable: targets
  friend bool operator==(const Fill&, const Fill&) = default;
};

struct Case {
  std::string name;
  op::AnyOp op;
  std::vector<TensorSpec> in;
  std::vector<Fill> fill;   // one an operand
  bool integers = false;    // floats are small integers, so that every sum is exact
  bool near_edge = false;   // an extent lies within 1 of a declared edge
  std::int64_t chunks = 0;  // or sample groups of a random case's longest sum; 0 where it does not sum in chunks
};

/// Every operation at least once, contractions and pools in every form.
[[nodiscard]] const std::vector<Case>& cases();

/// Contractions that are too large for gradient checks: several blocks of everything that a kernel blocks.
[[nodiscard]] const std::vector<Case>& large_cases();

/// Operands of a case. Saved ones come from the forward operation on the reference.
[[nodiscard]] std::vector<Array> make_inputs(const Case&, std::uint64_t seed);
/// Control block of a case: seed, epoch, step, learning rate, finished updates.
[[nodiscard]] Control make_control(std::uint64_t seed);

/// A random problem of an operation. Half of them or more have an extent within 1 of one of `edges`; at least one in ten of
/// those that sum in chunks has more than two. Work stays below 20 million operations.
[[nodiscard]] Case random_case(op::Kind kind, std::mt19937_64& rng, const Edges& edges);

}  // namespace tenon::tests
