// Random contractions and pools, for op_facts.cpp.
#pragma once
#include "tests/cases.hpp"
#include "tests/random_draw.hpp"

namespace tenon::tests {

/// Conv2d or one of its gradients.
[[nodiscard]] Case random_conv2d(Draw&, const Wish&, op::Kind);
/// MatMul or one of its gradients.
[[nodiscard]] Case random_matmul(Draw&, const Wish&, op::Kind);
/// Pool2d or its gradient.
[[nodiscard]] Case random_pool2d(Draw&, const Wish&, op::Kind);

}  // namespace tenon::tests
