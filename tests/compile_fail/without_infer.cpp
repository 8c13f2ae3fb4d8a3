// An operation without a shape rule must not compile.
#include "tests/compile_fail/every_rule.hpp"

namespace tenon::op {
void vjp(const Lonely&, Vjp& v) { v.accumulate(0, v.grad()); }
Cost cost(const Lonely&, Specs, Specs) { return {}; }
}  // namespace tenon::op
