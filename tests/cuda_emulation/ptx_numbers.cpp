// Rounding to tf32, bf16 and fp16, and back.
#include <bit>
#include <cmath>

#include "tests/cuda_emulation/ptx.hpp"

namespace tenon::cuda {
namespace {

unsigned rounded_to_bf16(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if (std::isnan(v)) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to even; the largest go to infinity
}

unsigned rounded_to_f16(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const unsigned sign = bits >> 16 & 0x8000;
  if (std::isnan(v)) return 0x7fff;
  const float magnitude = std::fabs(v);
  if (magnitude >= 65520.f) return sign | 0x7c00;  // from half way behind the largest on
  // In units of the last place all results are integers, and nearbyint rounds ties to even.
  const int exponent = magnitude < 0x1p-14f ? -14 : std::ilogb(magnitude);
  const auto units = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return sign | (units + (static_cast<unsigned>(exponent + 14) << 10));
}

}  // namespace

unsigned to_tf32(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if (std::isnan(v)) return 0x7fffffff;
  return std::isinf(v) ? bits : (bits + 0x1000) & ~0x1fffu;
}
unsigned pack_bf16x2(float low, float high) { return rounded_to_bf16(high) << 16 | rounded_to_bf16(low); }
unsigned pack_f16x2(float low, float high) { return rounded_to_f16(high) << 16 | rounded_to_f16(low); }

namespace emulation {

float widened_bf16(unsigned bits) { return std::bit_cast<float>(bits << 16); }

float widened_f16(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const auto fraction = static_cast<float>(bits & 0x3ff);
  float v = exponent == 0 ? fraction * 0x1p-24f : std::ldexp(fraction + 1024.f, exponent - 25);
  if (exponent == 31) v = fraction == 0.f ? INFINITY : NAN;
  return bits & 0x8000 ? -v : v;
}

}  // namespace emulation
}  // namespace tenon::cuda
