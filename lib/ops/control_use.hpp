// What an operation's kernels do with the control block, so that steps that have nothing to do with one another there may run side
// by side on a device.
#pragma once
#include <cstdint>

#include "tenon/op.hpp"

namespace tenon {

enum class ControlUse : std::uint8_t {
  none,
  counts,  // reads seed, epoch and step: dropout
  marks,   // may set a bit of `halt`, and the value that is to blame
  obeys,   // an optimizer's update: reads the rate, the counts and `halt`
  all      // anything; a user's own operation
};

/// What two operations do together.
[[nodiscard]] constexpr ControlUse both(ControlUse a, ControlUse b) {
  if (a == b || b == ControlUse::none) return a;
  return a == ControlUse::none ? b : ControlUse::all;
}

[[nodiscard]] ControlUse control_use(const op::AnyOp&);

}  // namespace tenon
