// An operation without a gradient rule must not compile.
#include "tests/compile_fail/every_rule.hpp"

namespace tenon::op {
SpecList infer(const Lonely&, Specs in) { return {in[0]}; }
Cost cost(const Lonely&, Specs, Specs) { return {}; }
}  // namespace tenon::op
