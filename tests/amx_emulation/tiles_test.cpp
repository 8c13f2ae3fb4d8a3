// The emulation itself: TDPBF16PS as Intel's manual writes it down, number by number, and rounding to bf16.
#include "tests/amx_emulation/tiles.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/amx_emulation/amx_emulation.hpp"
#include "tests/support/catch.hpp"

using namespace tenon;

namespace {

using limits = std::numeric_limits<float>;

float widened(std::uint16_t v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v) << 16); }
/// Denormals are zero, going in and coming out.
float flushed(float v) { return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.f, v) : v; }

void multiply_by_hand(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 16; ++n) {
      float chain[2] = {};
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 2; ++i)
          chain[i] = flushed(
              std::fma(flushed(widened(a[m * 32 + 2 * k + i])), flushed(widened(b[k * 32 + 2 * n + i])), chain[i]));
      float& to = c[m * 16 + n];
      to = flushed(flushed(to) + flushed(chain[0] + chain[1]));
    }
}

/// To nearest, ties to even, through double: a bf16 is a float of 8 bits.
std::uint16_t rounded(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if (std::isnan(v)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  if (std::isinf(v)) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t down = bits & 0xFFFF0000, up = down + 0x10000;
  const auto next = [](std::uint32_t b) {  // behind the largest comes what would be 2^128
    const float f = std::bit_cast<float>(b);
    return std::isinf(f) ? std::copysign(0x1p128, static_cast<double>(f)) : static_cast<double>(f);
  };
  const double below = std::abs(static_cast<double>(v) - next(down)),
               above = std::abs(next(up) - static_cast<double>(v));
  const bool odd = (down >> 16 & 1) != 0;
  return static_cast<std::uint16_t>((below < above || (below == above && !odd) ? down : up) >> 16);
}

bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

TEST_CASE("the emulated tile product is the manual's, to the bit", "[amx][tiles]") {
  if (!tests::emulate_amx()) return;
  std::mt19937 rng(7);
  std::vector<std::uint16_t> a(512), b(512);
  std::vector<float> c(256), expected(256);
  int special = 0;
  for (int round = 0; round < 200; ++round) {
    // Numbers near 1; all there are; numbers whose products are denormal or nearly.
    const auto draw = [&](int kind) {
      const auto bits = static_cast<std::uint16_t>(rng());
      if (kind == 1) return bits;
      const int exponent = kind == 0 ? 120 + static_cast<int>(rng() % 12) : 60 + static_cast<int>(rng() % 8);
      return static_cast<std::uint16_t>((bits & 0x807F) | exponent << 7);
    };
    const int kind = round % 3;
    for (auto& v : a) v = draw(kind);
    for (auto& v : b) v = draw(kind);
    for (auto& v : c) v = kind == 1 ? widened(draw(1)) : kind == 2 ? 0x1p-130f : static_cast<float>(rng() % 100) / 7.f;
    expected = c;
    multiply_by_hand(a.data(), b.data(), expected.data());
    cpu::amx_emulated::multiply_tiles(a.data(), b.data(), c.data());
    for (int i = 0; i < 256; ++i) {
      special += std::isfinite(expected[static_cast<std::size_t>(i)]) ? 0 : 1;
      INFO("round " << round << " element " << i);
      CHECK(same(c[static_cast<std::size_t>(i)], expected[static_cast<std::size_t>(i)]));
    }
  }
  CHECK(special > 0);
}

TEST_CASE("rounding to bf16 goes to the nearest, NaN and infinity stay", "[amx][tiles]") {
  if (!tests::emulate_amx()) return;
  std::vector<float> values{0.f,
                            -0.f,
                            1.f,
                            limits::infinity(),
                            -limits::infinity(),
                            limits::max(),
                            -limits::max(),
                            limits::quiet_NaN(),
                            std::bit_cast<float>(0x7F800001u),   // a signalling NaN: its set bits are all cut off
                            std::bit_cast<float>(0xFFFFFFFFu),   // a NaN that rounding would carry beyond
                            std::bit_cast<float>(0x3F808000u),   // a tie, even below
                            std::bit_cast<float>(0x3F818000u),   // a tie, even above
                            std::bit_cast<float>(0x3F808001u)};  // just above a tie
  std::mt19937 rng(11);
  while (values.size() < 4096) values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(rng())));
  std::vector<std::uint16_t> found(values.size());
  cpu::amx_emulated::round_to_bf16(values.data(), static_cast<std::int64_t>(values.size()), found.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    INFO(values[i]);
    CHECK(found[i] == rounded(values[i]));
  }
  // A row that ends inside a vector: what lies behind is zero.
  for (const std::int64_t count : {1, 7, 8, 9, 15}) {
    std::vector<std::uint16_t> part(32, 0xABCD);
    cpu::amx_emulated::round_to_bf16(values.data() + 2, count, part.data());
    for (std::int64_t i = 0; i < 16; ++i)
      CHECK(part[static_cast<std::size_t>(i)] == (i < count ? rounded(values[static_cast<std::size_t>(i) + 2]) : 0));
  }
}
