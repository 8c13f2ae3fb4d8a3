// What the tests have to know of an operation, in one record each (op_facts.cpp). An operation without a record does not
// compile, and a record says everything: nothing has a default.
#pragma once
#include "tests/cases.hpp"
#include "tests/random_draw.hpp"

namespace tenon::tests {

class OpFacts {
 public:
  /// What the operands are: `integers` are tried as well where small ones have to come out exactly, whatever the order of
  /// the sums. Operations that only move elements are not tried with them, because equal ones would hide a wrong place.
  enum class Operands : std::uint8_t { reals, integers };
  /// What a row may have edges in: the extents of axes, or the number of elements, whatever their axes.
  enum class Sees : std::uint8_t { axes, elements };
  using Chunks = std::int64_t (*)(const Case&);
  using Draws = Case (*)(Draw&, const Wish&, op::Kind);

  constexpr OpFacts(Operands operands, Sees sees, Chunks count, Draws draws)
      : operands_(operands), sees_(sees), count_(count), draws_(draws) {}

  [[nodiscard]] bool takes_integers() const { return operands_ == Operands::integers; }
  [[nodiscard]] bool sees_axes() const { return sees_ == Sees::axes; }
  /// Chunks or sample groups of the case's longest sum (kernels/common/order.hpp); 0 where it does not sum in chunks.
  [[nodiscard]] std::int64_t chunks(const Case& c) const { return count_(c); }
  /// A random case, with many chunks or in integers where wished. Throws UsageError where an operation has none.
  [[nodiscard]] Case draw(Draw& d, const Wish& w, op::Kind kind) const { return draws_(d, w, kind); }

 private:
  Operands operands_;
  Sees sees_;
  Chunks count_;
  Draws draws_;
};

[[nodiscard]] const OpFacts& facts_of(op::Kind);

}  // namespace tenon::tests
