// The rows of cpu.amx on processors without AMX: the same sources, compiled for AVX2 with the tile instructions emulated
// (TENON_EMULATED_TILES in kernels/cpu/micro/tiles.hpp), as the provider cpu.amx_emulated.
#pragma once

namespace tenon::tests {

/// Puts the rows in front of the CPU's table, once; false, with a word why, where the processor lacks AVX2.
bool emulate_amx();

}  // namespace tenon::tests
