// A block of training steps that a device takes without the host: what it reads, what it leaves, and the two loops around every
// step. `feed` gathers the minibatch from data that stays on the device; `advance` writes the step's scalars down and moves on.
//
//   feed      row i of the minibatch is sample s = next_sample + Call::first_sample + i of the stream: row
//             permutation(seed, s / n)(s % n) of n, or, where sweeps are not continuous, permutation(seed, epoch); elements become
//             float(v) / divisor, i32, or stay
//   advance   value[done] = scalars, halt[done]; step, and updates where nothing halted; the next rate;
//             an overflow ends with its step
#pragma once
#include <cstdint>

#include "tenon/kernel.hpp"

namespace tenon {

struct StepBlock {
  static constexpr std::int32_t most_steps = 32, most_values = 16;
  std::int64_t next_sample = 0;  // of the block's first step; the device leaves it alone
  std::int32_t done = 0, updated = 0;
  float lr[most_steps] = {};  // of the block's updates, of which there are fewer than steps where some are skipped
  std::uint32_t halt[most_steps] = {};
  float value[most_steps][most_values] = {};
};

/// Call::in are the columns, Call::out the program's inputs, Call::workspace the StepBlock.
struct FeedGeometry {
  static constexpr std::int32_t most_columns = 8;
  std::int32_t columns = 0;
  std::int64_t width[most_columns] = {};  // elements of a sample
  DType from[most_columns] = {}, to[most_columns] = {};
  float divisor[most_columns] = {};
  std::int64_t samples = 0, batch = 0;
  std::uint64_t seed = 0;  // of the order
  bool shuffle = true, continuous = false;
};
/// Call::in are the scalars (f32), Call::workspace the StepBlock.
struct AdvanceGeometry {
  std::int32_t values = 0;
  bool training = true;  // else the control block stays as it is
};

/// The loops of a device; null where it has none.
struct StepBlockLoops {
  RunFn feed = nullptr, advance = nullptr;
};

}  // namespace tenon
