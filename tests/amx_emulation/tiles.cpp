// The emulated tile product and the rounding of the packing code, for the tests that look at them alone.
#include "tests/amx_emulation/tiles.hpp"

#include "kernels/cpu/micro/bf16_pack.hpp"

namespace tenon::cpu::TENON_ISA {

void multiply_tiles(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  const TileScope tiles;
  load_tile<0>(c, 64);
  load_tile<1>(a, 64);
  load_tile<2>(b, 64);
  dot_bf16<0, 1, 2>();
  store_tile<0>(c, 64);
}

void round_to_bf16(const float* from, std::int64_t count, std::uint16_t* to) {
  round_row(from, count, to, blocks_of(count, 2 * width) * 2 * width);
}

}  // namespace tenon::cpu::TENON_ISA
