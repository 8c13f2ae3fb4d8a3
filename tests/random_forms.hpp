// Random cases of single operations, for op_facts.cpp. They share one signature, because an operation and its gradient
// share a function.
#pragma once
#include "tests/cases.hpp"
#include "tests/random_draw.hpp"

namespace tenon::tests {

/// x (..., c), c long enough for many chunks where wished.
[[nodiscard]] Shape random_rows(Draw&, const Wish&);

/// Each takes the kinds of the operations that it is named after and those of their gradients.
[[nodiscard]] Case random_unary(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_binary(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_bias(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_softmax(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_class_loss(Draw&, const Wish&, op::Kind);  // softmax_crossentropy, correct
[[nodiscard]] Case random_pair_loss(Draw&, const Wish&, op::Kind);   // sigmoid_crossentropy, binary_crossentropy
[[nodiscard]] Case random_dropout(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_transpose(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_concat(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_slice(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_gather(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_broadcast_to(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_reduce(Draw&, const Wish&, op::Kind);
[[nodiscard]] Case random_update(Draw&, const Wish&, op::Kind);

}  // namespace tenon::tests
