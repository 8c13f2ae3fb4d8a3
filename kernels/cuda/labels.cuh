// Integer operands that index: labels (i32 or u8) and ids. One that is out of range stops the run through the control
// block.
#pragma once
#include "kernels/cuda/device.cuh"

namespace tenon::cuda {

__device__ inline std::int64_t label_at(const void* labels, DType type, std::int64_t i) {
  return type == DType::u8 ? std::int64_t{static_cast<const std::uint8_t*>(labels)[i]}
                           : std::int64_t{static_cast<const std::int32_t*>(labels)[i]};
}

__device__ inline bool inside(std::int64_t index, std::int64_t extent) { return index >= 0 && index < extent; }

/// Halts updates; whoever is first leaves its value for the message.
__device__ inline void report_index(std::int64_t index, Control* control) {
  const std::uint32_t before = atomicOr(&control->halt, std::uint32_t{Control::bad_index});
  if ((before & Control::bad_index) == 0) control->bad_value = index;
}

}  // namespace tenon::cuda
