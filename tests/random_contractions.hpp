// Random contractions and pools, for random_cases.cpp.
#pragma once
#include "tests/cases.hpp"
#include "tests/random_draw.hpp"

namespace tenon::tests {

/// Conv2d or one of its gradients.
[[nodiscard]] Case random_conv2d(Draw&, const Wish&, op::Kind);
/// MatMul or one of its gradients.
[[nodiscard]] Case random_matmul(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_pool2d(Draw&, const Wish&, bool gradient);

}  // namespace tenon::tests
