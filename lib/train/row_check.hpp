// One kernel row on one problem, seen from outside: operands between guard zones, results compared with the reference.
// gradcheck.hpp's check_providers() and the library's own tests are made of these.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/ops/in_place.hpp"
#include "tenon/array.hpp"
#include "tenon/backend.hpp"
#include "tenon/kernel.hpp"

namespace tenon {

/// What a run left behind.
struct RowRun {
  std::vector<Array> out;
  Control control;
  std::string fault;  // a guard zone or an input was written to
};

/// Runs a bound row. Outputs start poisoned (NaN, or 0xA5 in integers) between canaries of 4 KiB, the workspace as NaN;
/// what lies behind an input is NaN too. On a device that is not the host all of it is copied there and back.
[[nodiscard]] RowRun run_row(const Problem&, const Step&, const std::vector<Array>& in, const Control&, int threads,
                             Backend& device = backend("cpu"));

/// The same operands with f64 in place of f32.
[[nodiscard]] std::vector<Array> widened(const std::vector<Array>&);
[[nodiscard]] std::vector<TensorSpec> specs_of(const std::vector<Array>&);

/// The operation on the provider `reference`, in the operands' own precision. Throws UsageError where that refuses.
[[nodiscard]] RowRun run_reference(const op::AnyOp&, const std::vector<Array>& in, const Control&, int threads = 1);

/// How a row forms its products, which its error depends on: in fp32, transformed by Winograd's F(4x4, 3x3) where that is
/// possible, of the two bf16 halves of every operand, or of operands rounded to tf32, bf16 or fp16.
enum class Arithmetic : std::uint8_t { fp32, winograd, split, tf32, bf16, fp16 };
[[nodiscard]] Arithmetic arithmetic_of(const Kernel&);

/// Largest |found - exact| allowed, element by element, for the f32 outputs of an operation that sums in any order, on a row
/// of the given arithmetic; an empty array where an output has to be exact. `in` and `exact` are f64 (error_bound.cpp says where the bounds come from).
[[nodiscard]] std::vector<Array> error_bounds(const op::AnyOp&, const std::vector<Array>& in,
                                              const std::vector<Array>& exact, const Control&,
                                              Arithmetic = Arithmetic::fp32);

/// Terms of the sums that an operation forms: 1 for pointwise ones.
[[nodiscard]] double reduction_length(const op::AnyOp&, const std::vector<TensorSpec>& in,
                                      const std::vector<TensorSpec>& out);

struct Comparison {
  double worst = 0;   // largest error / bound
  std::string fault;  // the first element that is off, with both values
};

/// Equal as floats: the same bits, or both NaN, or zeros of either sign.
[[nodiscard]] Comparison compare_bits(const std::vector<Array>& found, const std::vector<Array>& expected);
/// Within the bounds of `exact`; integer outputs equal, but for what ties and gates that lie within the bound allow.
[[nodiscard]] Comparison compare_bounded(const op::AnyOp&, const std::vector<Array>& in,
                                         const std::vector<Array>& found, const std::vector<Array>& exact,
                                         const Control&, Arithmetic = Arithmetic::fp32);

}  // namespace tenon
