// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
// 3" (SC 2011): ten rounds of multiply, swap and xor turn (key, counter) into four words, with no state to keep.
//
//   key     = (low 32 bits of seed, high 32 bits of seed ^ purpose)
//   counter = (element / 4, site, step, epoch);  word element % 4 belongs to the element
//
// Dropout draws 16 bits an element: see below.
//
// Internal linkage on purpose: this header is compiled once per instruction set, and for the device.
#pragma once
#include <cstdint>

#include "kernels/common/inline.hpp"

namespace tenon::philox {

inline constexpr std::uint32_t multiplier_0 = 0xD2511F53, multiplier_1 = 0xCD9E8D57;
inline constexpr std::uint32_t weyl_0 = 0x9E3779B9, weyl_1 = 0xBB67AE85;  // what each round adds to the key
inline constexpr int rounds = 10;

/// What the numbers are for: streams of different purposes never meet. The values spell drop, shuf, init, genr.
enum class Purpose : std::uint32_t {
  dropout = 0x64726F70,
  shuffle = 0x73687566,
  init = 0x696E6974,
  generator = 0x67656E72
};

struct Key {
  std::uint32_t k0 = 0, k1 = 0;
};
struct Words {
  std::uint32_t v[4] = {};
};

namespace {

TENON_INLINE Key key(std::uint64_t seed, Purpose purpose) {
  return {static_cast<std::uint32_t>(seed),
          static_cast<std::uint32_t>(seed >> 32) ^ static_cast<std::uint32_t>(purpose)};
}

/// The four words at a counter.
TENON_INLINE Words block(Key key, std::uint32_t c0, std::uint32_t c1, std::uint32_t c2, std::uint32_t c3) {
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t p0 = std::uint64_t{multiplier_0} * c0, p1 = std::uint64_t{multiplier_1} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ key.k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ key.k1;
    c3 = static_cast<std::uint32_t>(p0);
    key.k0 += weyl_0;
    key.k1 += weyl_1;
  }
  return {{c0, c1, c2, c3}};
}

/// The word of one element; loops take block() once per four elements.
TENON_INLINE std::uint32_t word(Key key, std::uint64_t element, std::uint32_t site, std::uint32_t step,
                                std::uint32_t epoch) {
  return block(key, static_cast<std::uint32_t>(element / 4), site, step, epoch).v[element % 4];
}

/// In [0, 1), a multiple of 2^-24.
TENON_INLINE float uniform01(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// Dropout keeps an element iff its draw >= dropout_threshold(rate), and multiplies it by dropout_scale(rate). A draw is 16
// bits, so that a block is enough for eight elements: the lower halves of its words for four, the upper ones for the next.

/// Counter of the block that the draw of an element is from.
TENON_INLINE std::uint32_t draw_block(std::uint64_t element) { return static_cast<std::uint32_t>(element / 8); }
/// From the element's block: the draw in the upper 16 bits, and below them what no comparison with a threshold sees.
TENON_INLINE std::uint32_t draw_of(const Words& block, std::uint64_t element) {
  // Chosen, not indexed: a device would keep the words in memory for the sake of an index.
  const std::uint64_t at = element % 4;
  const std::uint32_t word = at < 2 ? (at == 0 ? block.v[0] : block.v[1]) : (at == 2 ? block.v[2] : block.v[3]);
  return element % 8 < 4 ? word << 16 : word;
}
/// The same of an element alone.
TENON_INLINE std::uint32_t draw(Key key, std::uint64_t element, std::uint32_t site, std::uint32_t step,
                                std::uint32_t epoch) {
  return draw_of(block(key, draw_block(element), site, step, epoch), element);
}

/// rate rounded to a multiple of 2^-16 below 1, times 2^32; 0 <= rate < 1.
TENON_INLINE std::uint32_t dropout_threshold(float rate) {
  const auto nearest = static_cast<std::uint32_t>(static_cast<double>(rate) * 65536.0 + 0.5);
  return (nearest < 65535 ? nearest : 65535) << 16;
}
/// 1 / (1 - rate).
TENON_INLINE float dropout_scale(float rate) { return 1.f / (1.f - rate); }

}  // namespace
}  // namespace tenon::philox
