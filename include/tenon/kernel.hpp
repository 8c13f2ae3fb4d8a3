// What a kernel sees and what a kernel is. A provider is an ordered table of rows; the first row whose bind() accepts
// the problem runs it, and one that refuses says why in one line.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tenon/op.hpp"

namespace tenon {

/// Everything that a kernel may inspect before it runs: operation, attributes and the specs of its operands.
struct Problem {
  static constexpr int max_in = 16, max_out = 4;
  static constexpr std::size_t attribute_bytes = 160;

  op::Kind kind = -1;
  std::int32_t ins = 0, outs = 0;
  std::int32_t threads = 64;  // at most so many will run it: workspaces hold scratch for each
  TensorSpec in[max_in], out[max_out];
  alignas(8) std::byte attributes[attribute_bytes] = {};

  /// The attributes, as the struct of the problem's kind.
  template <class T>
  [[nodiscard]] const T& as() const {
    static_assert(sizeof(T) <= attribute_bytes);
    return *reinterpret_cast<const T*>(attributes);
  }
  [[nodiscard]] std::string str() const;  // conv2d f32(128,28,28,1) f32(3,3,1,32) -> f32(128,26,26,32)
};

/// Builds a problem from an operation and its specs; outputs are inferred. Throws UsageError where they do not fit.
[[nodiscard]] Problem make_problem(const op::AnyOp&, std::span<const TensorSpec> in);

/// Step state that kernels read and write; on a device it lives in device memory.
struct Control {
  static constexpr std::uint32_t not_finite = 1, bad_index = 2, overflow = 4;
  std::uint64_t seed = 0;
  std::uint32_t epoch = 0;    // Philox counter words
  std::uint32_t step = 0;     // micro-batches since the epoch began
  std::uint32_t updates = 0;  // finished optimizer updates
  float lr = 0.f;
  std::uint32_t micro = 0;  // micro-batches since the last update
  std::uint32_t halt = 0;   // non-zero: updates do nothing; the bits above, overflow for one update
  std::int64_t bad_value = 0;
};

/// What follows results that are whole: run(this, begin, count) for ranges of elements of out[0] that make up all of it,
/// each on the thread that wrote it, while they are in its caches.
struct Finish {
  void (*run)(const Finish&, std::int64_t begin, std::int64_t count) = nullptr;
};

/// Operands of one run. Pointers are 64-byte aligned where they start a value.
struct Call {
  const void* const* in = nullptr;
  void* const* out = nullptr;
  void* workspace = nullptr;
  Control* control = nullptr;
  const void* state = nullptr;  // Step::state
  std::int32_t threads = 1;
  void* stream = nullptr;
  /// Of the whole batch, where the operands are a strip of one: what randomness is counted from. Of a block of steps: what feed takes.
  std::int64_t first_sample = 0;
  const Finish* finish = nullptr;  // where the row is of Pieces::results
  std::int64_t elements = 0;       // where the row is of Pieces::elements: how many to work on; 0 for all
};

using RunFn = void (*)(const Call&);

/// A bound kernel, ready to run. Runs neither allocate nor throw.
struct Step {
  RunFn run = nullptr;
  std::shared_ptr<const void> state;  // what bind() prepared: geometry, descriptors
  std::size_t workspace = 0;          // bytes, 64-byte aligned, alive during this step only
};

/// Why a row does not take a problem.
struct Refusal {
  std::string why;
};
using Bound = std::variant<Step, Refusal>;

/// Sizes at which a kernel changes its path: vector, tile and chunk lengths, so that tests can aim at them.
struct Edges {
  std::int32_t sizes[6] = {};
};

/// Classes of arithmetic, the most exact first. A program binds rows of its own class and of those before it.
enum class Precision : std::uint8_t {
  fp32,  // fp32 products and sums
  tf32,  // fp32 storage; products may be rounded, split or transformed, within the bound that the kernel publishes
  bf16,  // the same storage; products of operands rounded to bf16 (8 bits of significand), fp32 sums
  fp16   // the same storage; products of operands rounded to fp16 (11 bits, 6e-8 to 65504), fp32 sums; scaled losses
};
/// True where a program of class `program` may bind rows of class `row`: its own and the more exact ones. Operands of bf16 are
/// rounded more than those of fp16, whose range is smaller: neither stands in for the other.
[[nodiscard]] constexpr bool takes_rows(Precision program, Precision row) {
  return row <= program && (program != Precision::fp16 || row != Precision::bf16);
}
[[nodiscard]] const char* name_of(Precision);
/// Throws UsageError that lists what there is.
[[nodiscard]] Precision precision_of(const std::string& name);

/// How a step may be run other than whole.
enum class Pieces : std::uint8_t {
  none,
  samples,  // some samples of a batch: randomness counts from Call::first_sample
  results,  // whole, but it tells Call::finish of results as they come
  elements  // some neighbouring elements of all operands: Call::elements
};

struct Kernel {
  op::Kind op = -1;
  std::string_view provider;  // "cpu.avx512"
  bool canonical = false;     // computes in the order of kernels/common/order.hpp
  bool naive = false;         // a fallback that warns when nobody asked for it
  Edges edges{};
  Bound (*bind)(const Problem&, const Kernel& row) = nullptr;
  const void* impl = nullptr;  // what several rows share: the table of an instruction set
  Precision precision = Precision::fp32;
  Pieces pieces = Pieces::none;
};
using KernelTable = std::vector<Kernel>;

/// Helper for bind(): keeps a copy of plain geometry for the run. A provider without this loop (null) refuses.
template <class Geometry>
[[nodiscard]] Bound make_step(RunFn run, const Geometry& geometry, std::size_t workspace = 0) {
  if (run == nullptr) return Refusal{"this provider has no such loop"};
  return Step{run, std::make_shared<const Geometry>(geometry), workspace};
}
template <class Geometry>
[[nodiscard]] const Geometry& state_of(const Call& call) {
  return *static_cast<const Geometry*>(call.state);
}

}  // namespace tenon
