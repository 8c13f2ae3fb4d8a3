// One run of a plan on a device that is not the host. What the host gives (inputs, control block) and takes (control block, scalars)
// lies in pinned memory at fixed addresses, so that a whole run, copies included, is one recording: the first run goes step by step
// and warms up, the second is recorded, all later ones are one launch and one wait. What is recorded runs side by side where
// operands allow it (recording_order.hpp).
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "kernels/common/step_block.hpp"
#include "lib/runtime/plan.hpp"
#include "lib/runtime/recording_order.hpp"
#include "lib/runtime/slab.hpp"

namespace tenon {

class DeviceRun {
 public:
  DeviceRun(Backend&, const Plan&);

  /// On the device: where the runner finds input i, constant i and the control block.
  [[nodiscard]] std::byte* input(std::size_t i) const { return device_.data() + inputs_[i].at; }
  [[nodiscard]] std::byte* constant(std::size_t i) const { return device_.data() + constants_[i].at; }
  [[nodiscard]] Control* control() const { return reinterpret_cast<Control*>(device_.data()); }

  /// Addresses have changed: what was recorded is void. `scalars` are read after every run, from the addresses given.
  void bind(std::vector<std::pair<Home, const std::byte*>> scalars);
  /// What is given to the stream next touches this memory, and nothing else: to be told before each piece of work.
  void piece(const std::vector<Access>&);
  /// steps() gives all steps to the device's stream.
  void run(const std::vector<const std::byte*>& inputs, Control& control, const std::function<void()>& steps);
  /// `count` steps without the host: step(block, i) gives the i-th to the stream, with the block's address on the device.
  /// Recordings are those of one feed at a time, by its number.
  void run_block(std::uint64_t feed, StepBlock&, Control& control, int count,
                 const std::function<void(StepBlock*, int)>& step);
  /// What the last run left: a scalar without asking the device, anything else by a copy.
  void read(const Home&, const std::byte* address, void* to, std::size_t bytes) const;

 private:
  struct Piece {
    std::size_t at, bytes;
  };
  void enqueue(const std::function<void()>& steps);
  void upload(std::byte* to, const std::byte* from, std::size_t bytes);
  void download(std::byte* to, const std::byte* from, std::size_t bytes);
  /// Runs the work, recorded or not; recorded from the second time on.
  void run_or_replay(std::shared_ptr<void>& recording, int& runs, const std::function<void()>& work);

  Backend* backend_;
  std::vector<Piece> inputs_, constants_;
  std::size_t given_bytes_ = 0;  // control and inputs, at the start of both memories
  Slab device_, given_, taken_;  // taken: control, then eight bytes a scalar
  std::vector<std::pair<Home, const std::byte*>> scalars_;
  std::shared_ptr<void> recording_;
  int runs_ = 0;
  Slab block_, block_given_;
  std::map<int, std::shared_ptr<void>> block_recordings_;  // by count
  int block_runs_ = 0;
  std::uint64_t block_feed_ = 0;
  std::unique_ptr<RecordingOrder> order_;  // while something is recorded
};

}  // namespace tenon
