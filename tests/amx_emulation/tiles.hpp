// What amx_emulation/tiles.cpp exports from the emulated level.
#pragma once
#include <cstdint>

namespace tenon::cpu::amx_emulated {

/// c (16,16) += a (16, 16 pairs) b (16 pairs, 16).
void multiply_tiles(const std::uint16_t* a, const std::uint16_t* b, float* c);
/// `to` has room for a multiple of 32.
void round_to_bf16(const float* from, std::int64_t count, std::uint16_t* to);

}  // namespace tenon::cpu::amx_emulated
