// As many FMAs as one thread can do: independent chains in registers keep all units busy, since the next FMA of a
// chain waits four or five cycles for the last. No row runs this; kernels/cpu/peaks.cpp times it.
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {

void fma_peak(const Call& call) {
  const std::int64_t iterations = geometry<FmaGeometry>(call).iterations;
  // The seeds differ at run time, or the compiler would see equal chains and keep one.
  const float* seed = input<float>(call, 0);
  const Vf factor = Simd::set(seed[fma_chains]), addend = Simd::set(seed[fma_chains + 1]);
  Vf chain[fma_chains];
  for (int i = 0; i < fma_chains; ++i) chain[i] = Simd::set(seed[i]);
  for (std::int64_t n = 0; n < iterations; ++n)
    for (Vf& value : chain) value = Simd::fma(value, factor, addend);
  Vf sum{};
  for (const Vf& value : chain) sum += value;
  *output<float>(call, 0) = sum[0];
}

}  // namespace tenon::cpu::TENON_ISA
