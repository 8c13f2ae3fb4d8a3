// The step that runs other steps strip by strip.
#pragma once
#include <cstdint>
#include <vector>

#include "tenon/kernel.hpp"

namespace tenon {

/// Where a strip finds an operand of one of its steps.
struct StripOperand {
  enum class Space : std::uint8_t { in, out, scratch, sums };
  Space space = Space::in;
  std::int64_t at =
      0;  // the number of an operand of the whole step, or bytes into the thread's scratch or the strip's sums
  std::int64_t each = 0;  // bytes from strip to strip; 0: the same for all
};

struct StripStep {
  Step whole, tail;  // for full strips, and for the last one where it is shorter
  std::vector<StripOperand> in, out;
};

/// A result that is the sum over the strips.
struct StripSum {
  std::int64_t out = 0, at = 0, bytes = 0;
};

struct StripRun {
  static constexpr std::size_t max_out = 16;

  std::int64_t samples = 0, count = 0;  // of a strip, and strips
  std::vector<StripStep> steps{};
  std::vector<StripSum> sums{};
  std::int64_t sum_bytes = 0;      // of a strip
  std::int64_t scratch_bytes = 0;  // of a thread: what steps hand to one another, then the workspace of one
  std::int64_t workspace_at = 0;
};

/// Call::workspace: the sums of all strips, then the scratch of each thread.
void run_strips(const Call&);

}  // namespace tenon
