// A digit is its strokes with jittered points, sheared, stretched, turned and shifted, drawn as the distance to a chain
// of segments, over noise and stray marks. Only + - * / and sqrt, so every machine draws the same bytes.
#include "lib/data/digits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/common/philox.hpp"
#include "lib/data/digit_strokes.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

using digits::Pen;
using digits::Point;
using digits::Stroke;

constexpr int side = 28;
constexpr int subdivisions = 5;  // segments between two points of a curve

// The random words of one image, in order.
class Draw {
 public:
  Draw(std::uint64_t seed, std::uint32_t split, std::size_t image)
      : key_(philox::key(seed, philox::Purpose::generator)), split_(split), image_(static_cast<std::uint32_t>(image)) {}

  std::uint32_t word() {
    if (used_ == 4) {
      block_ = philox::block(key_, blocks_++, image_, 0, split_);
      used_ = 0;
    }
    return block_.v[used_++];
  }
  float uniform(float low, float high) { return low + (high - low) * philox::uniform01(word()); }
  /// Bell-shaped in (-1, 1): the mean of three uniforms.
  float bell() {
    const float a = uniform(-1, 1), b = uniform(-1, 1), c = uniform(-1, 1);
    return (a + b + c) / 3.f;
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>((std::uint64_t{word()} * n) >> 32); }

 private:
  philox::Key key_;
  std::uint32_t split_, image_;
  std::uint32_t blocks_ = 0, used_ = 4;
  philox::Words block_;
};

using Canvas = std::array<float, side * side>;

// Ink = how far a pixel's centre lies inside the pen's edge, clamped to a ramp of one pixel: anti-aliasing.
void ink_segment(Canvas& canvas, Point a, Point b, float radius, float ink) {
  const float reach = radius + 1.f;
  const auto low = [&](float u, float v) { return std::max(0, static_cast<int>(std::floor(std::min(u, v) - reach))); };
  const auto high = [&](float u, float v) {
    return std::min(side - 1, static_cast<int>(std::ceil(std::max(u, v) + reach)));
  };
  const float dx = b.x - a.x, dy = b.y - a.y;
  const float length2 = std::max(dx * dx + dy * dy, 1e-6f);
  for (int y = low(a.y, b.y); y <= high(a.y, b.y); ++y)
    for (int x = low(a.x, b.x); x <= high(a.x, b.x); ++x) {
      const float px = static_cast<float>(x) - a.x, py = static_cast<float>(y) - a.y;
      const float t = std::clamp((px * dx + py * dy) / length2, 0.f, 1.f);
      const float ex = px - t * dx, ey = py - t * dy;
      const float cover = std::clamp(radius + 0.5f - std::sqrt(ex * ex + ey * ey), 0.f, 1.f);
      float& pixel = canvas[static_cast<std::size_t>(y * side + x)];
      pixel = std::max(pixel, cover * ink);
    }
}

// Catmull-Rom: through b and c, with tangents from the points around them.
Point on_curve(Point a, Point b, Point c, Point d, float t) {
  const auto at = [t](float p, float q, float r, float s) {
    return q + 0.5f * t * (r - p + t * (2.f * p - 5.f * q + 4.f * r - s + t * (3.f * (q - r) + s - p)));
  };
  return {at(a.x, b.x, c.x, d.x), at(a.y, b.y, c.y, d.y)};
}

void ink_stroke(Canvas& canvas, Pen pen, const std::vector<Point>& p, float radius, float ink) {
  for (std::size_t i = 0; i + 1 < p.size(); ++i) {
    if (pen == Pen::line) {
      ink_segment(canvas, p[i], p[i + 1], radius, ink);
      continue;
    }
    const Point before = p[i == 0 ? 0 : i - 1], after = p[std::min(i + 2, p.size() - 1)];
    Point from = p[i];
    for (int k = 1; k <= subdivisions; ++k) {
      const Point to = on_curve(before, p[i], p[i + 1], after, static_cast<float>(k) / subdivisions);
      ink_segment(canvas, from, to, radius, ink);
      from = to;
    }
  }
}

// Box coordinates to pixels: shear, stretch, turn, shift. The turn is exact without sine and cosine: t = tan(angle /
// 2).
struct Placement {
  float xx, xy, yx, yy, x0, y0;

  explicit Placement(Draw& draw) {
    const float height = 19.f + 5.f * draw.bell(), width = height * draw.uniform(0.55f, 0.95f);
    const float t = 0.22f * draw.bell(), shear = 0.4f * draw.bell();
    const float c = (1.f - t * t) / (1.f + t * t), s = 2.f * t / (1.f + t * t);
    xx = c * width, xy = -s * height + c * shear * height;
    yx = s * width, yy = c * height + s * shear * height;
    x0 = 13.5f + 4.f * draw.bell(), y0 = 13.5f + 4.f * draw.bell();
  }
  [[nodiscard]] Point operator()(Point p) const {
    const float u = p.x - 0.5f, v = p.y - 0.5f;
    return {x0 + xx * u + xy * v, y0 + yx * u + yy * v};
  }
};

void stray_marks(Canvas& canvas, Draw& draw) {
  for (std::size_t marks = draw.below(3); marks > 0; --marks) {
    const Point a{draw.uniform(0, side - 1), draw.uniform(0, side - 1)};
    const Point b{a.x + draw.uniform(-6, 6), a.y + draw.uniform(-6, 6)};
    // Drawn before the call: compilers disagree about which argument comes first.
    const float ink = draw.uniform(0.3f, 0.8f), radius = draw.uniform(0.3f, 0.8f);
    ink_segment(canvas, a, b, radius, ink);
  }
}

int draw_digit(Draw& draw, std::byte* pixels) {
  Canvas canvas{};
  const int digit = static_cast<int>(draw.below(10));
  const std::vector<digits::Way>& ways = digits::ways_to_write(digit);
  const digits::Way& way = ways[draw.below(ways.size())];
  const Placement place(draw);
  const float radius = draw.uniform(0.5f, 1.5f), ink = draw.uniform(0.75f, 1.f);
  std::vector<Point> points;
  for (const Stroke& stroke : way) {
    points.clear();
    for (const Point p : stroke.points)
      points.push_back(place({p.x + 0.08f * draw.bell(), p.y + 0.065f * draw.bell()}));
    ink_stroke(canvas, stroke.pen, points, radius, ink);
  }
  stray_marks(canvas, draw);
  const float noise = draw.uniform(0.f, 0.15f);
  for (std::size_t i = 0; i < canvas.size(); ++i) {
    const float grain = philox::uniform01(draw.word());
    const float value =
        std::clamp(canvas[i] * (1.f - noise * grain) + (grain > 0.9f ? noise * 2.f * (grain - 0.5f) : 0.f), 0.f, 1.f);
    pixels[i] = static_cast<std::byte>(value * 255.f + 0.5f);
  }
  return digit;
}

void put_u32(std::vector<std::byte>& out, std::int64_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift & 255));
}

}  // namespace

DigitFiles draw_digits(std::int64_t count, std::uint64_t seed, std::uint32_t split) {
  if (count < 1 || count > 1'000'000)
    throw UsageError(fmt::format("[digits] expected a count in 1..1000000, found {}", count));
  DigitFiles files;
  for (const std::int64_t word : {std::int64_t{0x803}, count, std::int64_t{side}, std::int64_t{side}})
    put_u32(files.images, word);
  for (const std::int64_t word : {std::int64_t{0x801}, count}) put_u32(files.labels, word);
  const std::size_t image_header = files.images.size(), label_header = files.labels.size(),
                    n = static_cast<std::size_t>(count);
  files.images.resize(image_header + n * side * side);
  files.labels.resize(label_header + n);
  for (std::size_t i = 0; i < n; ++i) {
    Draw draw(seed, split, i);
    files.labels[label_header + i] =
        static_cast<std::byte>(draw_digit(draw, files.images.data() + image_header + i * side * side));
  }
  return files;
}

}  // namespace tenon
