// Strips: steps that work sample by sample run one after the other on a few samples at a time, each strip on a thread of
// its own, so that what they hand to one another stays in that thread's second-level cache and never has a place in the
// arena. A strip is one sample group (kernels/common/order.hpp): a filter gradient is then one chain a strip, and the
// strips' sums join by the pair tree, as they do inside a kernel, so the bits are those of whole batches.
#pragma once
#include <cstdint>
#include <vector>

#include "lib/runtime/plan.hpp"

namespace tenon {

/// A step while the plan is made: what it is, and the values that it reads and writes.
struct BoundNode {
  std::int32_t node = -1;
  PlanStep step;
  std::vector<ValueId> in, out;
};

/// Replaces runs of neighbouring steps by one step each.
void join_strips(const Graph&, const StripPolicy&, std::vector<BoundNode>&);

}  // namespace tenon
