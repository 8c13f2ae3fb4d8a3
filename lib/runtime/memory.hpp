// plan_memory: where each intermediate lies in the arena. Lifetimes are known, so buffers that are never alive together
// may share bytes.
#pragma once
#include <cstdint>
#include <span>

namespace tenon {

/// Alive from step `first` to step `last`, both included. `offset` is the result.
struct Buffer {
  std::int64_t bytes = 0;
  std::int32_t first = 0, last = 0;
  std::int64_t offset = 0;
};

inline constexpr std::int64_t buffer_alignment = 256;

/// Gives every buffer an offset so that no two buffers alive at once overlap; returns the bytes of the arena. Largest
/// first, each at the lowest offset that is free during its life.
std::int64_t place_buffers(std::span<Buffer> buffers);

}  // namespace tenon
