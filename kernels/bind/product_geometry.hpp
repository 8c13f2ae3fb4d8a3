// From the problem of a product to its geometry, as far as all rows that take it agree: which operand is which matrix, and what
// the epilogue asks for. Blocks and workspaces are each provider's own.
#pragma once
#include "kernels/common/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::bind {

/// Sizes, strides and epilogue or prologue of a product.
[[nodiscard]] ProductGeometry matmul_geometry(const Problem&);
[[nodiscard]] ProductGeometry matmul_grad_a_geometry(const Problem&);
[[nodiscard]] ProductGeometry matmul_grad_b_geometry(const Problem&);

}  // namespace tenon::bind
