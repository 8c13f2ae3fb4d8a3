// Updates that follow a weight's gradient piece by piece: as soon as some rows of it are whole, they are taken off the
// parameter by the thread that made them, while they are in its caches. A slab's update would read the gradients from memory
// again, on whichever thread has that part of the slab. What is computed is the same, element by element.
#pragma once
#include <vector>

#include "lib/runtime/strips.hpp"

namespace tenon {

/// Joins gradients that are products with their part of the update, and leaves the rest to it.
void join_updates(const Graph&, std::vector<BoundNode>&);

}  // namespace tenon
