// The polynomials of kernels/common/math.hpp against the C library in double, over a sample of all floats; Philox
// against the known answers of its authors; the canonical row sum against its definition.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/common/math.hpp"
#include "kernels/common/philox.hpp"
#include "kernels/common/row_reduce.hpp"
#include "tests/support/catch.hpp"

namespace {

using tenon::math::Scalar;
namespace philox = tenon::philox;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// |y - exact| in units in the last place of a float at `exact`, subnormal ones included; infinity where one of the two
/// is NaN or the wrong infinity. Beyond the largest float, infinity stands for 2^128.
double ulps(float y, double exact) {
  if (std::isnan(y) || std::isnan(exact)) return std::isnan(y) && std::isnan(exact) ? 0. : infinity;
  const double top = 0x1p128;
  const double found = std::isinf(y) ? std::copysign(top, y) : static_cast<double>(y);
  const double expected = std::fmin(std::fmax(exact, -top), top);
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::fabs(found - expected) / std::ldexp(1., std::max(std::min(exponent, 128), -125) - 24);
}

struct Worst {
  double error = 0.;
  float at = 0.f;
};

/// Over every 1021st float of both signs (1021 is prime, so that all low bits occur), and the special ones.
template <class Found, class Exact>
Worst worst_error(Found found, Exact exact, float low = -infinity, float high = infinity) {
  Worst worst;
  const auto look_at = [&](float x) {
    if (x < low || x > high) return;
    const double error = ulps(found(x), exact(static_cast<double>(x)));
    if (!(error <= worst.error)) worst = {error, x};
  };
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1021)
    look_at(from_bits(static_cast<std::uint32_t>(bits)));
  for (const float x : {0.f, 0x1p-149f, 0x1p-126f, 0x1.fffffcp-127f, 0x1.fffffep+127f, 1.f, 88.7228317f, 88.7228394f,
                        87.3365479f, 103.972076f, 103.972084f, 104.f, 0.921875f, 4.f, 9.01f, infinity, not_a_number}) {
    look_at(x);
    look_at(-x);
  }
  return worst;
}

#define TENON_REQUIRE_ULPS(worst, bound) \
  do {                                   \
    const Worst w = (worst);             \
    CAPTURE(w.at, w.error);              \
    REQUIRE(w.error <= (bound));         \
  } while (false)

}  // namespace

TEST_CASE("exp, log, tanh and erf keep their bounds over all floats", "[math]") {
  TENON_REQUIRE_ULPS(worst_error(tenon::math::exp<Scalar>, [](double x) { return std::exp(x); }), 1.);
  TENON_REQUIRE_ULPS(worst_error(tenon::math::log<Scalar>, [](double x) { return std::log(x); }), 1.);
  TENON_REQUIRE_ULPS(worst_error(tenon::math::tanh<Scalar>, [](double x) { return std::tanh(x); }), 1.);
  TENON_REQUIRE_ULPS(worst_error(tenon::math::erf<Scalar>, [](double x) { return std::erf(x); }), 1.2);
}

TEST_CASE("sigmoid, expm1 and log1p keep their bounds where they are defined", "[math]") {
  const auto sigmoid = [](double x) { return 1. / (1. + std::exp(-x)); };
  TENON_REQUIRE_ULPS(worst_error(tenon::math::sigmoid<Scalar>, sigmoid), 2.5);
  TENON_REQUIRE_ULPS(worst_error(
                         tenon::math::expm1_negative<Scalar>, [](double x) { return std::expm1(x); }, -infinity, 0.f),
                     1.);
  TENON_REQUIRE_ULPS(worst_error(
                         tenon::math::log1p_unit<Scalar>, [](double x) { return std::log1p(x); }, 0.f, 1.f),
                     1.3);
}

TEST_CASE("special values come out exactly", "[math]") {
  namespace m = tenon::math;
  CHECK(m::exp<Scalar>(0.f) == 1.f);
  CHECK(m::exp<Scalar>(-infinity) == 0.f);
  CHECK(m::exp<Scalar>(infinity) == infinity);
  CHECK(m::exp<Scalar>(-103.f) > 0.f);  // subnormal
  CHECK(m::log<Scalar>(1.f) == 0.f);
  CHECK(m::log<Scalar>(0.f) == -infinity);
  CHECK(m::log<Scalar>(-0.f) == -infinity);
  CHECK(m::log<Scalar>(infinity) == infinity);
  CHECK(std::isnan(m::log<Scalar>(-1.f)));
  CHECK(std::isnan(m::log<Scalar>(-infinity)));
  CHECK(m::tanh<Scalar>(infinity) == 1.f);
  CHECK(m::tanh<Scalar>(-infinity) == -1.f);
  CHECK(std::signbit(m::tanh<Scalar>(-0.f)));
  CHECK(m::erf<Scalar>(infinity) == 1.f);
  CHECK(std::signbit(m::erf<Scalar>(-0.f)));
  CHECK(m::sigmoid<Scalar>(infinity) == 1.f);
  CHECK(m::sigmoid<Scalar>(-infinity) == 0.f);
  for (const float x : {not_a_number, -not_a_number}) {
    CHECK(std::isnan(m::exp<Scalar>(x)));
    CHECK(std::isnan(m::log<Scalar>(x)));
    CHECK(std::isnan(m::tanh<Scalar>(x)));
    CHECK(std::isnan(m::erf<Scalar>(x)));
    CHECK(std::isnan(m::sigmoid<Scalar>(x)));
    CHECK(std::isnan(m::expm1_negative<Scalar>(x)));
    CHECK(std::isnan(m::log1p_unit<Scalar>(x)));
  }
}

TEST_CASE("Philox4x32-10 gives the known answers of its authors", "[philox]") {
  struct Answer {
    std::uint32_t counter[4], key[2], words[4];
  };
  const Answer answers[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                            {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                             {0xffffffff, 0xffffffff},
                             {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                            {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                             {0xa4093822, 0x299f31d0},
                             {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const Answer& a : answers) {
    const philox::Words words =
        philox::block({a.key[0], a.key[1]}, a.counter[0], a.counter[1], a.counter[2], a.counter[3]);
    for (int i = 0; i < 4; ++i) CHECK(words.v[i] == a.words[i]);
  }
}

TEST_CASE("Philox words are placed as documented", "[philox]") {
  const philox::Key key = philox::key(0x0123456789abcdefu, philox::Purpose::dropout);
  CHECK(key.k0 == 0x89abcdefu);
  CHECK(key.k1 == (0x01234567u ^ 0x64726f70u));
  const philox::Words words = philox::block(key, 1234, 5, 6, 7);
  for (std::uint64_t i = 0; i < 4; ++i) {
    CHECK(philox::word(key, 4 * 1234 + i, 5, 6, 7) == words.v[i]);
    CHECK(philox::draw(key, 8 * 1234 + i, 5, 6, 7) >> 16 == (words.v[i] & 0xFFFF));
    CHECK(philox::draw(key, 8 * 1234 + 4 + i, 5, 6, 7) >> 16 == words.v[i] >> 16);
  }
  CHECK(philox::uniform01(0) == 0.f);
  CHECK(philox::uniform01(0xffffffffu) == 1.f - 0x1p-24f);
  CHECK(philox::uniform01(0x80000000u) == 0.5f);
}

TEST_CASE("dropout keeps the share that it is asked for", "[philox]") {
  CHECK(philox::dropout_threshold(0.f) == 0u);
  CHECK(philox::dropout_threshold(0.25f) == 0x40000000u);
  CHECK(philox::dropout_threshold(1.f - 0x1p-24f) == 0xffff0000u);
  CHECK(philox::dropout_threshold(0.1f) == 6554u << 16);
  CHECK(philox::dropout_scale(0.75f) == 4.f);
  const philox::Key key = philox::key(1, philox::Purpose::dropout);
  constexpr std::uint64_t n = 1 << 20;
  for (const float rate : {0.1f, 0.25f, 0.5f, 0.9f}) {
    const std::uint32_t threshold = philox::dropout_threshold(rate);
    std::uint64_t kept = 0;
    for (std::uint64_t i = 0; i < n; ++i) kept += philox::draw(key, i, 0, 0, 0) >= threshold ? 1 : 0;
    const double expected = static_cast<double>(n) * (1. - static_cast<double>(rate));
    const double sigma = std::sqrt(expected * static_cast<double>(rate));
    CAPTURE(rate, kept, expected, sigma);
    CHECK(std::fabs(static_cast<double>(kept) - expected) <= 5. * sigma);
  }
}

TEST_CASE("the canonical row sum is 16 lanes, halves, and a tree of adjacent pairs", "[order]") {
  namespace order = tenon::order;
  const std::int64_t lengths[] = {0, 1, 15, 16, 17, 40, 4096, 4097, 3 * 4096, 5 * 4096 + 19};
  for (const std::int64_t n : lengths) {
    std::vector<float> x(static_cast<std::size_t>(n));
    const philox::Key key = philox::key(n == 0 ? 1u : static_cast<std::uint64_t>(n), philox::Purpose::generator);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = philox::uniform01(philox::word(key, i, 0, 0, 0)) - 0.5f;
    // Level by level, as the definition has it.
    std::vector<float> level;
    for (std::size_t begin = 0; begin == 0 || begin < x.size(); begin += order::reduce_chunk) {
      std::vector<float> lane(16, 0.f);
      for (std::size_t i = begin; i < x.size() && i < begin + order::reduce_chunk; ++i) lane[i % 16] += x[i];
      while (lane.size() > 1) {
        const std::size_t half = lane.size() / 2;
        for (std::size_t j = 0; j < half; ++j) lane[j] += lane[j + half];
        lane.resize(half);
      }
      level.push_back(lane[0]);
    }
    while (level.size() > 1) {
      std::vector<float> above;
      for (std::size_t i = 0; i < level.size(); i += 2)
        above.push_back(i + 1 < level.size() ? level[i] + level[i + 1] : level[i]);
      level = above;
    }
    CAPTURE(n);
    CHECK(order::row_sum<float>(n, [&](std::int64_t i) { return x[static_cast<std::size_t>(i)]; }) == level[0]);
  }
}
