// Axes: from values to places on paper, and the round numbers that are written beside them.
#pragma once
#include <string>
#include <vector>

namespace tenon::track {

struct Tick {
  double value = 0;
  std::string text;
};

/// A range of values that fills `length` from `origin`; a negative length runs upwards, as a page's y does.
struct Scale {
  double low = 0, high = 1, origin = 0, length = 1;
  bool logarithmic = false;  // low is above 0 then

  [[nodiscard]] double place(double value) const;
};

/// The range of values, a little wider than they are; logarithmic where all are positive and span more than two and a
/// half decades.
[[nodiscard]] Scale scale_of(double least, double most, double origin, double length);
/// About `wanted` ticks at 1, 2 or 5 times a power of ten; powers of ten on a logarithmic scale.
[[nodiscard]] std::vector<Tick> ticks_of(const Scale& scale, int wanted);
/// As short as it can be read: 0.0123, 4.5, 12k, 3.4e−7. Numbers between 0.0001 and 10,000 have `digits` digits at most.
[[nodiscard]] std::string short_number(double value, int digits = 4);

}  // namespace tenon::track
