// Initial values: Philox at (seed, init; element, parameter), so that they depend on nothing else.
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "kernels/common/philox.hpp"
#include "lib/ops/check.hpp"
#include "tenon/parameters.hpp"

namespace tenon {
namespace {

/// Fan in and out of a kernel (..., in, out): the leading axes are taps, as in Keras.
double fan(const Shape& s, Initializer::Fan kind) {
  if (s.rank() == 0) return 1;
  const double taps = s.rank() > 2 ? static_cast<double>(s.product(0, s.rank() - 2)) : 1.0;
  const double in = (s.rank() > 1 ? static_cast<double>(s[-2]) : static_cast<double>(s[-1])) * taps;
  const double out = static_cast<double>(s[-1]) * taps;
  switch (kind) {
    case Initializer::Fan::none:
      return 1;
    case Initializer::Fan::in:
      return in;
    case Initializer::Fan::out:
      return out;
    case Initializer::Fan::average:
      return (in + out) / 2;
  }
  return 1;
}

double draw(const Initializer& init, double variance, philox::Key key, std::uint64_t element, std::uint32_t parameter) {
  if (init.kind == Initializer::Kind::uniform) {
    const double u = philox::uniform01(philox::word(key, element, parameter, 0, 0));
    return (2 * u - 1) * std::sqrt(3 * variance);
  }
  // Box-Muller on two words of the element's own block; 1 - u keeps the logarithm finite.
  const philox::Words w = philox::block(key, static_cast<std::uint32_t>(element), parameter, 1, 0);
  const double u = 1.0 - philox::uniform01(w.v[0]), v = philox::uniform01(w.v[1]);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v) * std::sqrt(variance);
}

}  // namespace

Initializer initializer_named(std::string_view name) {
  std::string names;
  for (const Initializer& i :
       {zeros, ones, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal}) {
    if (name == i.name) return i;
    names += names.empty() ? i.name : std::string(", ") + i.name;
  }
  reject("initializer", "no '{}' among: {}", name, names);
}

void Parameters::initialize(std::uint64_t seed) {
  const philox::Key key = philox::key(seed, philox::Purpose::init);
  for (std::size_t i = 0; i < list_.size(); ++i) {
    const Parameter& p = list_[i];
    Array value(DType::f64, p.shape);
    const double variance = p.init.scale / fan(p.shape, p.init.fan);
    const std::span<double> out = value.values<double>();
    for (std::size_t e = 0; e < out.size(); ++e)
      // Rounded to float in both element types, so that an f64 program starts from the same point.
      out[e] = p.init.kind == Initializer::Kind::constant
                   ? p.init.scale
                   : static_cast<float>(draw(p.init, variance, key, e, static_cast<std::uint32_t>(i)));
    set(p.name, value);
  }
}

}  // namespace tenon
