// Integer operands that index: labels (i32 or u8) and ids. One that is out of range stops the run through the control
// block.
#pragma once
#include "tenon/kernel.hpp"

namespace tenon::reference {

inline std::int64_t label_at(const void* labels, DType type, std::int64_t i) {
  return type == DType::u8 ? std::int64_t{static_cast<const std::uint8_t*>(labels)[i]}
                           : std::int64_t{static_cast<const std::int32_t*>(labels)[i]};
}

/// True where 0 <= index < extent; else notes the first such value, and updates halt.
inline bool index_inside(std::int64_t index, std::int64_t extent, Control& control) {
  if (index >= 0 && index < extent) return true;
  if ((control.halt & Control::bad_index) == 0) control.bad_value = index;
  control.halt |= Control::bad_index;
  return false;
}

}  // namespace tenon::reference
