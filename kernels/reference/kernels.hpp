// The provider `reference`: the definition of every operation, in loops without tricks, for float and double.
// float computes in the canonical order of kernels/common/order.hpp, double in the naive order with the C library's
// functions.
#pragma once
#include "tenon/kernel.hpp"

namespace tenon {

/// One row an operation. Reshape has none: it shares memory.
[[nodiscard]] const KernelTable& reference_rows();

}  // namespace tenon
