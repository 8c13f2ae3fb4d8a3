// The passes between a traced graph and a plan, in the order in which compile runs them. Each is a free function in a
// file of its own.
//
//   prune -> fuse -> differentiate -> append_update -> fold -> prune -> group -> recompute -> select -> strips
//   -> updates -> plan_memory
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/passes/row_set.hpp"
#include "lib/passes/strip_policy.hpp"
#include "tenon/graph.hpp"
#include "tenon/optim.hpp"
#include "tenon/parameters.hpp"

namespace tenon {

/// True for each value that somebody outside the nodes reads: loss, outputs, metrics, observed values, assignments.
[[nodiscard]] std::vector<bool> read_outside(const Graph&);

/// Marks nodes dead that no role (loss, outputs, metrics, observed values, writes) depends on.
void prune(Graph&);

/// Absorbs bias, activation, 2x2 max-pool and dropout into the conv2d or matmul before them, as far as the rows take the
/// fused op and every gradient op of its vjp.
void fuse(Graph&, const RowSet&);

/// Appends the gradient of `loss` by each value of `wrt`; no_value where the loss does not depend on it. With `seed`
/// the gradient starts from that value instead of 1.
[[nodiscard]] std::vector<ValueId> differentiate(Graph&, ValueId loss, const std::vector<ValueId>& wrt,
                                                 ValueId seed = no_value);

/// What the update pass needs to know of one trainable parameter.
struct Trainable {
  std::size_t parameter = 0;  // index in Parameters
  ValueId gradient = no_value;
  float lr_scale = 1.f;
  std::optional<float> weight_decay{};
};
struct UpdatePolicy {
  const Optimizer* optimizer = nullptr;
  float clip_norm = 0.f;
  int accumulate = 1;
  float unscale = 1.f;  // of gradients, before anything reads them; 1: nothing is done, and nobody checks them
  bool apply = true;    // false: a micro-batch that only accumulates
};
/// Gives every gradient its place in the gradient slab, then appends unscaling, accumulation, clipping and the optimizer: one
/// update per run of neighbouring parameters that are treated alike.
void append_update(Graph&, const Parameters&, const std::vector<Trainable>&, const UpdatePolicy&);
/// Appends the writes that nn::assign() recorded.
void append_assignments(Graph&);

/// Replaces small nodes whose operands are all constant by their value.
void fold(Graph&);

/// Claims chains of pointwise nodes, whose inner values nobody else reads, for one kernel each.
void group(Graph&, const RowSet&);

/// Gives gradients a copy of a cheap node whose large result they read, where all of them can run in strips.
void recompute(Graph&, const RowSet&, const StripPolicy&);

}  // namespace tenon
