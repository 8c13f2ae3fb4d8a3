// The control: an operation with all three rules compiles.
#include "tests/compile_fail/every_rule.hpp"

namespace tenon::op {
SpecList infer(const Lonely&, Specs in) { return {in[0]}; }
void vjp(const Lonely&, Vjp& v) { v.accumulate(0, v.grad()); }
Cost cost(const Lonely&, Specs, Specs) { return {}; }
}  // namespace tenon::op
