// Attributes as text, so that logs and files can tell problems apart.
#pragma once
#include <string>

#include "tenon/kernel.hpp"

namespace tenon {

namespace op {
/// `stride=2x2 pad=1,1,1,1 bias relu`: what the specs of the operands do not say, defaults left out. Equal texts mean equal
/// work: where a dropout stands in its model, and a user's own operation, are not told apart.
[[nodiscard]] std::string attributes_of(const AnyOp&);
}  // namespace op

/// `conv2d f32(8,28,28,1) f32(3,3,1,32) -> f32(8,26,26,32) {relu}`
[[nodiscard]] std::string text_of(const Problem&, const op::AnyOp&);

}  // namespace tenon
