// Division by a number that the host knows, as one multiplication: q = n m / 2^(31 + s) with s = ceil(log2 d) and
// m = ceil(2^(31 + s) / d). Exact for n < 2^31: m exceeds 2^(31 + s) / d by less than one, which n times is less than the 2^(31 + s) / d
// that the quotient's fraction leaves. Granlund, Montgomery 1994, "Division by invariant integers using multiplication".
#pragma once
#include <cstdint>

#include "kernels/cuda/device.cuh"

namespace tenon::cuda {

struct Divider {
  std::uint32_t divisor = 1, multiplier = 1u << 31, shift = 31;

  Divider() = default;
  /// 1 <= d < 2^31.
  explicit Divider(std::int64_t d) : divisor(static_cast<std::uint32_t>(d)) {
    std::uint32_t s = 0;
    while ((std::int64_t{1} << s) < d) ++s;
    shift = 31 + s;
    multiplier = static_cast<std::uint32_t>(((std::uint64_t{1} << shift) + divisor - 1) / divisor);
  }
  [[nodiscard]] __device__ std::int32_t quotient(std::int32_t n) const {
    return static_cast<std::int32_t>(std::uint64_t{static_cast<std::uint32_t>(n)} * multiplier >> shift);
  }
  /// quotient(n), and what remains in n.
  __device__ std::int32_t split(std::int32_t& n) const {
    const std::int32_t q = quotient(n);
    n -= q * static_cast<std::int32_t>(divisor);
    return q;
  }
};

}  // namespace tenon::cuda
