// As many products of tiles as one thread can do: four chains, each in a tile of its own, since the next product of a chain
// waits 52 cycles for the last and one takes 16. No row runs this; kernels/cpu/peaks.cpp times it.
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/team.hpp"
#include "kernels/cpu/micro/tiles.hpp"

namespace tenon::cpu::TENON_ISA {

void bf16_peak(const Call& call) {
  const TileScope scope;
  for (std::int64_t n = geometry<FmaGeometry>(call).iterations; n > 0; --n) {
    dot_bf16<0, 4, 6>();
    dot_bf16<1, 4, 7>();
    dot_bf16<2, 5, 6>();
    dot_bf16<3, 5, 7>();
  }
}

}  // namespace tenon::cpu::TENON_ISA
