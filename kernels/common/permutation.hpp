// A keyed bijection on [0, n) that needs no memory: an unbalanced Feistel network on the smallest power of two that
// holds n, whose round function is one word of Philox4x32-10, walked along its cycle until it lands in [0, n) (fewer
// than two steps on average). Host and device compute the same, so a kernel can gather a shuffled minibatch by itself.
//
//   apply(i): x = i; do { L = low half, R = high half of x;
//                         for r in 0..rounds(n)-1: even r: L ^= F(R, r) mod 2^low;  odd r: R ^= F(L, r) mod 2^high;
//                         x = (R, L) } while (x >= n)
//   F(v, r) = word 0 of philox(key(seed, shuffle), counter = (v, r, 0, epoch))
#pragma once
#include <cstdint>

#include "kernels/common/inline.hpp"
#include "kernels/common/philox.hpp"

namespace tenon::permutation {

// Internal linkage on purpose: this header is compiled once per instruction set and for the device.
namespace {

/// n at most 2^62: each half then fits a counter word.
struct Key {
  std::uint64_t n = 1;
  philox::Key seed;
  std::uint32_t epoch = 0;
  std::uint32_t low_bits = 0, high_bits = 0, rounds = 0;
};

/// Even. Halves of a bit or two mix slowly, so small n take more: all orders of 4, 5, 6 rows are then equally likely.
TENON_INLINE std::uint32_t rounds_for(std::uint32_t bits) { return bits < 13 ? 32 - 2 * bits : 6; }

TENON_INLINE Key make(std::uint64_t n, std::uint64_t seed, std::uint32_t epoch) {
  std::uint32_t bits = 0;
  while ((std::uint64_t{1} << bits) < n) ++bits;
  return {n, philox::key(seed, philox::Purpose::shuffle), epoch, bits / 2, bits - bits / 2, rounds_for(bits)};
}

TENON_INLINE std::uint32_t round_word(const Key& k, std::uint32_t value, std::uint32_t round) {
  return philox::block(k.seed, value, round, 0, k.epoch).v[0];
}

/// The row that comes at place `index` (below n).
TENON_INLINE std::uint64_t apply(const Key& k, std::uint64_t index) {
  if (k.n < 2) return 0;
  const std::uint32_t low_mask = static_cast<std::uint32_t>((std::uint64_t{1} << k.low_bits) - 1);
  const std::uint32_t high_mask = static_cast<std::uint32_t>((std::uint64_t{1} << k.high_bits) - 1);
  std::uint64_t x = index;
  do {
    std::uint32_t low = static_cast<std::uint32_t>(x) & low_mask;
    std::uint32_t high = static_cast<std::uint32_t>(x >> k.low_bits);
    for (std::uint32_t r = 0; r < k.rounds; r += 2) {
      low ^= round_word(k, high, r) & low_mask;
      high ^= round_word(k, low, r + 1) & high_mask;
    }
    x = std::uint64_t{high} << k.low_bits | low;
  } while (x >= k.n);
  return x;
}

}  // namespace
}  // namespace tenon::permutation
