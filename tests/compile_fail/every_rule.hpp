// Calls every rule of the operation that the including file defines, through the templates behind infer_node, vjp_node
// and cost_node.
#pragma once
#include "lib/ops/dispatch.hpp"

namespace tenon::op {
struct Lonely {
  static constexpr std::string_view name = "lonely";
};
using OnlyLonely = std::variant<Lonely>;
}  // namespace tenon::op

namespace tenon {
inline void every_rule(const op::OnlyLonely& any, Specs in, Specs out, Vjp& v) {
  (void)dispatch::infer_any(any, in);
  dispatch::vjp_any<op::OnlyLonely>(any, v);
  (void)dispatch::cost_any(any, in, out);
}
}  // namespace tenon
