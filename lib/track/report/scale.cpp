// Round numbers: steps of 1, 2 and 5 times a power of ten.
#include "lib/track/report/scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tenon::track {

double Scale::place(double value) const {
  const double share = logarithmic ? (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low))
                                   : (value - low) / (high - low);
  return origin + length * share;
}

Scale scale_of(double least, double most, double origin, double length) {
  Scale s{.low = least, .high = most, .origin = origin, .length = length};
  s.logarithmic = least > 0 && most / least > 300;
  if (s.logarithmic) {
    s.low = least / 1.15;
    s.high = most * 1.15;
    return s;
  }
  // A flat line lies in the middle.
  const double size = std::max({std::abs(least), std::abs(most), 1e-300});
  const double margin = most - least > 1e-12 * size ? 0.05 * (most - least) : 0.1 * size;
  s.low = least >= 0 && least - margin < 0 ? 0 : least - margin;
  s.high = most + margin;
  return s;
}

std::vector<Tick> ticks_of(const Scale& scale, int wanted) {
  std::vector<Tick> ticks;
  if (scale.logarithmic) {
    const double decades = std::log10(scale.high / scale.low), every = std::max(1., std::round(decades / wanted));
    for (double e = std::ceil(std::log10(scale.low)); e <= std::log10(scale.high); e += every)
      ticks.push_back({std::pow(10., e), short_number(std::pow(10., e))});
    return ticks;
  }
  const double rough = (scale.high - scale.low) / wanted, power = std::pow(10., std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  for (double i = std::ceil(scale.low / step); i * step <= scale.high; ++i) {
    // i * step is not always the nearest number to what is meant.
    ticks.push_back({i * step, short_number(i == 0 ? 0 : i * step)});
    if (ticks.size() > 50) break;
  }
  return ticks;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const double size = std::abs(value);
  std::string text = value == 0                                   ? "0"
                     : size >= 1e6 || size < 1e-4                 ? fmt::format("{:.3g}", value)
                     : size >= 1e4 && std::fmod(value, 1000) == 0 ? fmt::format("{:.0f}k", value / 1000)
                                                                  : fmt::format("{:.4g}", value);
  if (text[0] == '-') text.replace(0, 1, "−");
  return text;
}

}  // namespace tenon::track
