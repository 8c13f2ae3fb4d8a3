// The plan: bound kernels in order, with the place of every operand. It holds offsets, not addresses, so that it runs on
// any arena; a Runner binds it to one.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/step_block.hpp"
#include "lib/ops/control_use.hpp"
#include "lib/passes/row_set.hpp"
#include "lib/passes/strip_policy.hpp"
#include "lib/runtime/recording_order.hpp"
#include "tenon/graph.hpp"
#include "tenon/program.hpp"
#include "tenon/rules.hpp"

namespace tenon {

class Tuner;

struct PlanStep {
  std::string op, scope;
  const Kernel* row = nullptr;
  std::shared_ptr<const Kernel> owned_row;
  Step step;
  std::vector<Home> in, out;  // Space::arena with byte offsets
  std::vector<std::int64_t> in_bytes, out_bytes;
  ControlUse control = ControlUse::all;
  std::int64_t workspace = -1;
  TensorSpec result;
  std::int64_t result_bytes = 0;
  Cost cost;
  double seconds = 0;  // measured, with TENON_VERBOSE=time
  std::int64_t runs = 0;

  /// Of one run; 0 unless measured.
  [[nodiscard]] double microseconds() const { return runs > 0 ? 1e6 * seconds / static_cast<double>(runs) : 0; }
  /// What the cost takes at least where nothing but the peaks limits it; 0 for unknown peaks.
  [[nodiscard]] double floor_microseconds(const Peak&) const;
};

/// A value that is read after a run.
struct Readable {
  std::string name;
  TensorSpec spec;
  Home home;
};

struct Plan {
  std::vector<PlanStep> steps;
  std::int64_t arena_bytes = 0;
  std::vector<Array> constants;
  std::vector<std::int64_t> input_bytes;  // of the inputs that the plan reads, by number
  Readable loss;
  std::vector<Readable> outputs, metrics, observed;
  Peak peak;  // of the device, where steps are measured

  [[nodiscard]] std::vector<PlanEntry> entries() const;
  [[nodiscard]] std::string table() const;
};

/// Selects a kernel for every live node and lays out the arena. Logs the dispatch with TENON_VERBOSE=dispatch and warns
/// about naive rows that nobody asked for. A tuner chooses among the rows that may run a node.
/// With a policy, steps run in strips and updates follow their gradients where that is worth it.
[[nodiscard]] Plan make_plan(const Graph&, const RowSet&, Tuner* = nullptr, const StripPolicy* = nullptr);

/// The limits to judge a plan by, where TENON_VERBOSE=time asks for times; else nothing is measured and nothing known.
[[nodiscard]] Peak peak_to_judge_by(const Backend&, int threads);
/// The table of a plan that ran, where TENON_VERBOSE=time asks for it: `time: train at batch 128`.
void log_times(const char* mode, std::int64_t batch, const Plan&);

/// Base address of each space; inputs come with each run.
struct Slabs {
  std::array<std::byte*, 9> base{};
  std::byte*& operator[](Space s) { return base[static_cast<std::size_t>(s)]; }
  std::byte* operator[](Space s) const { return base[static_cast<std::size_t>(s)]; }
};

class DeviceRun;

/// Data on the device, as FeedGeometry describes it.
struct BlockFeed {
  FeedGeometry geometry;
  std::vector<const void*> columns;
  std::uint64_t number = 0;  // its own: recordings hold its addresses
};

/// A plan bound to memory of a device: runs without allocating.
class Runner {
 public:
  Runner(Plan& plan, Backend& device);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  /// Resolves every operand but the inputs.
  void bind(const Slabs& slabs);
  /// Inputs lie in the host's memory, and so does the control block.
  void run(const std::vector<const std::byte*>& inputs, Control& control, int threads);
  /// `count` runs without the host, of data that lies on the device: every run is fed and noted down there. For devices that
  /// have Backend::step_block_loops(), and plans whose metrics are StepBlock::most_values - 1 at most.
  void run_block(const BlockFeed&, bool training, StepBlock&, Control& control, int threads, int count);
  /// Copies what the last run left at `home` to the host.
  void read(const Home& home, void* to, std::size_t bytes) const;

 private:
  struct Patch {
    std::size_t slot, input;
  };
  [[nodiscard]] const std::byte* address(const Home& home) const;
  void run_steps(Control& control, int threads);
  void find_accesses();

  Plan* plan_;
  Backend* device_;
  std::unique_ptr<DeviceRun> device_run_;  // null where the device is the host
  Slabs slabs_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<Patch> patches_;
  std::vector<std::vector<Access>> accesses_;  // of each step, on a device
  std::vector<const std::byte*> last_inputs_;
};

}  // namespace tenon
