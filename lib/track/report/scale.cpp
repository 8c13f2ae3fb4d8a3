// Round numbers: steps of 1, 2 and 5 times a power of ten.
#include "lib/track/report/scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tenon::track {
namespace {

/// With as many digits as tell neighbours apart: ticks may lie close together, far from zero.
std::string tick_text(double value, double step) {
  const double size = std::abs(value);
  if (size < step / 2) return "0";
  const std::string text = short_number(value);
  const double digits = std::floor(std::log10(size)) - std::floor(std::log10(step)) + 1;
  if (digits <= 4 || size >= 1e15) return text;
  const double decimals = std::max(0., -std::floor(std::log10(step)));
  if (size >= 1e-4 && decimals < 12)
    return fmt::format("{}{:.{}f}", value < 0 ? "−" : "", size, static_cast<int>(decimals));
  return text;
}

}  // namespace

double Scale::place(double value) const {
  // Halves, because the width of a range of finite numbers may not be finite.
  const double share = logarithmic ? (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low))
                                   : (value / 2 - low / 2) / (high / 2 - low / 2);
  return origin + length * share;
}

Scale scale_of(double least, double most, double origin, double length) {
  constexpr double limit = std::numeric_limits<double>::max();
  Scale s{.low = least, .high = most, .origin = origin, .length = length};
  s.logarithmic = least > 1e-300 && most < 1e300 && most / least > 300;
  if (s.logarithmic) {
    s.low = least / 1.15;
    s.high = most * 1.15;
    return s;
  }
  // A flat line lies in the middle.
  const double size = std::max({std::abs(least), std::abs(most), 1e-300});
  const double half = most / 2 - least / 2;
  const double margin = half > 1e-12 * size ? 0.1 * half : 0.1 * size;
  s.low = least >= 0 && least - margin < 0 ? 0 : std::max(-limit, least - margin);
  s.high = std::min(limit, most + margin);
  return s;
}

std::vector<Tick> ticks_of(const Scale& scale, int wanted) {
  std::vector<Tick> ticks;
  if (scale.logarithmic) {
    const double low = std::log10(scale.low), high = std::log10(scale.high);
    const double every = std::max(1., std::round((high - low) / wanted));
    for (double e = std::ceil(low); e <= high; e += every)
      ticks.push_back({std::pow(10., e), short_number(std::pow(10., e))});
    return ticks;
  }
  const double rough = 2 * ((scale.high / 2 - scale.low / 2) / wanted);
  const double power = std::pow(10., std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  // A millionth of a step: ticks at the very ends are not lost to rounding.
  for (double i = std::ceil(scale.low / step - 1e-6); i * step <= scale.high + 1e-6 * step; ++i) {
    const std::string text = tick_text(i * step, step);
    // Past 2^53 the next number may be the same one, and after the largest of all there is none.
    if ((!ticks.empty() && ticks.back().text == text) || !std::isfinite(i * step)) break;
    ticks.push_back({i * step, text});
  }
  return ticks;
}

std::string short_number(double value, int digits) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const double size = std::abs(value);
  std::string text;
  if (size != 0 && (size >= 1e6 || size < 1e-4)) {
    // 3.4e-07 → 3.4e-7
    text = fmt::format("{:.3g}", value);
    if (const std::size_t e = text.find('e'); e != std::string::npos)
      text = fmt::format("{}e{}", text.substr(0, e), std::stoi(text.substr(e + 1)));
  } else if (size >= 1e4 && std::fmod(value, 100) == 0) {
    text = fmt::format("{:g}k", value / 1000);
  } else {
    text = size >= 999.5 ? fmt::format("{:.0f}", value) : fmt::format("{:.{}g}", value, digits);
  }
  for (std::size_t i = 0; (i = text.find('-', i)) != std::string::npos;) text.replace(i, 1, "−");
  return text;
}

}  // namespace tenon::track
