// The graph: an append-only list of nodes, topologically ordered by construction. Passes read it, append to it or
// rebuild it. Not part of the umbrella header: users compose `Tensor`s.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tenon/op.hpp"

namespace tenon {

using ValueId = std::int32_t;
inline constexpr ValueId no_value = -1;

/// Which memory a value lives in. Everything but the arena outlives a step.
enum class Space : std::uint8_t { arena, input, constant, parameters, gradients, accumulated, state0, state1, state2 };
[[nodiscard]] const char* name_of(Space);

/// A place fixed before memory is planned: byte offset in a slab, or the number of an input or a constant.
struct Home {
  Space space = Space::arena;
  std::int64_t offset = 0;
  friend bool operator==(const Home&, const Home&) = default;
};

struct Value {
  TensorSpec spec;
  std::int32_t producer = -1;  // node, or -1: input, parameter or constant
  Home home{};
  std::string name;  // inputs, parameters, outputs
};

struct Node {
  op::AnyOp op;
  std::vector<ValueId> in, out;
  std::string scope;  // layer that made it
  std::int32_t group = -1;
  bool dead = false;
};

/// A value that someone outside the graph reads after a step.
struct Role {
  std::string name;
  ValueId value = no_value;
};

class TraceContext;  // what a layer finds while it is traced: parameters, mode, call counts

class Graph {
 public:
  std::vector<Node> nodes;
  std::vector<Value> values;
  std::vector<Array> constants;
  // Who reads what from outside.
  ValueId loss = no_value;
  std::vector<Role> outputs, metrics, observed;
  std::vector<std::pair<ValueId, ValueId>> assignments;  // (state, value, momentum in assignment_momentum)
  std::vector<float> assignment_momentum;

  bool training = false;
  DType dtype = DType::f32;  // of parameters and inputs that ask for none
  std::int32_t dropout_sites = 0;
  TraceContext* trace = nullptr;

  /// Appends a node: infers its outputs, throws UsageError where the operands do not fit.
  std::vector<ValueId> append(op::AnyOp op, std::vector<ValueId> in);
  ValueId append1(op::AnyOp op, std::vector<ValueId> in) { return append(std::move(op), std::move(in))[0]; }
  ValueId add_value(TensorSpec spec, Home home, std::string name = {});
  ValueId add_constant(Array data);
  Tensor input(std::string name, TensorSpec spec);
  Tensor constant(Array data) { return {this, add_constant(std::move(data))}; }

  [[nodiscard]] const TensorSpec& spec(ValueId v) const { return values[static_cast<std::size_t>(v)].spec; }
  [[nodiscard]] std::vector<TensorSpec> specs(const std::vector<ValueId>& ids) const;
  /// Follows reshapes to the value whose memory this one shares.
  [[nodiscard]] ValueId storage(ValueId v) const;
  /// Nodes that read each value, dead ones left out.
  [[nodiscard]] std::vector<std::vector<std::int32_t>> consumers() const;
  [[nodiscard]] std::int32_t inputs() const noexcept { return input_count_; }
  /// Current layer scope, kept in new nodes for error messages and tables.
  std::string scope;

 private:
  std::int32_t input_count_ = 0;
};

/// One line a node: `3  conv2d  (128,26,26,32)  <- 0 1 2   model.conv2d`
[[nodiscard]] std::string to_string(const Graph&);

}  // namespace tenon
