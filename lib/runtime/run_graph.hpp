// One-off runs of a graph that is not a program: eval(), gradcheck(), constant folding.
#pragma once
#include <vector>

#include "tenon/graph.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// Values of `wanted` for the given inputs (in the order of Graph::input calls). Does not fuse. With f64 values
/// options.dtype must be f64. `control` fields seed, epoch and step come from options.seed, 0 and 0.
[[nodiscard]] std::vector<Array> run_graph(const Graph& graph, const std::vector<ValueId>& wanted,
                                           const std::vector<Array>& inputs, const Options& options);

}  // namespace tenon
