// How the ten digits are written: two to four ways each, as strokes through control points in a box of width and height
// 1, x to the right and y down. A curve is drawn smoothly through its points, a line with corners at them.
#pragma once
#include <vector>

namespace tenon::digits {

struct Point {
  float x, y;
};
enum class Pen { curve, line };
struct Stroke {
  Pen pen;
  std::vector<Point> points;
};
using Way = std::vector<Stroke>;

/// Ways to write the digit `d`, 0..9.
[[nodiscard]] const std::vector<Way>& ways_to_write(int d);

}  // namespace tenon::digits
