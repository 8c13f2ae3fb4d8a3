// Where the points of a chart lie. Coordinates have one decimal: a tenth of a pixel.
#include "lib/track/report/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/track/report/html.hpp"
#include "lib/track/report/scale.hpp"

namespace tenon::track {
namespace {

constexpr double width = 660, height = 250, left = 56, right = 100, top = 14, bottom = 28;
constexpr std::size_t few = 400;  // points that are drawn one by one
constexpr int columns = 250;      // of a band

struct Extent {
  double least = 0, most = 0;
  bool any = false;

  void take(double v) {
    if (!std::isfinite(v)) return;
    least = any ? std::min(least, v) : v;
    most = any ? std::max(most, v) : v;
    any = true;
  }
};

struct Axes {
  Scale x, y;
};

/// Points between values that are not finite.
std::vector<std::span<const Point>> finite_stretches(std::span<const Point> points) {
  std::vector<std::span<const Point>> found;
  for (std::size_t i = 0; i < points.size();) {
    const std::size_t begin = i;
    while (i < points.size() && std::isfinite(points[i].value)) ++i;
    if (i > begin) found.push_back(points.subspan(begin, i - begin));
    while (i < points.size() && !std::isfinite(points[i].value)) ++i;
  }
  return found;
}

void add_point(std::string& path, char command, double x, double y) {
  path += fmt::format("{}{:.1f} {:.1f}", command, x, y);
}

std::string thin_line(const Axes& axes, std::span<const Point> points) {
  std::string path;
  for (const auto stretch : finite_stretches(points)) {
    for (std::size_t i = 0; i < stretch.size(); ++i)
      add_point(path, i == 0 ? 'M' : 'L', axes.x.place(static_cast<double>(stretch[i].step)),
                axes.y.place(stretch[i].value));
    if (stretch.size() == 1) path += "h.1";  // a dot, by the round ends of the line
  }
  return path;
}

/// From the least to the largest value in each column, as an area.
std::string band(const Axes& axes, std::span<const Point> points) {
  std::vector<Extent> column(columns);
  for (const Point& p : points) {
    const double share = (axes.x.place(static_cast<double>(p.step)) - axes.x.origin) / axes.x.length;
    column[static_cast<std::size_t>(std::clamp(share * columns, 0., columns - 1.))].take(p.value);
  }
  std::string path;
  for (int begin = 0; begin < columns;) {
    if (!column[static_cast<std::size_t>(begin)].any) {
      ++begin;
      continue;
    }
    int end = begin;
    while (end < columns && column[static_cast<std::size_t>(end)].any) ++end;
    const auto x = [&](int i) { return axes.x.origin + axes.x.length * (i + .5) / columns; };
    for (int i = begin; i < end; ++i)
      add_point(path, i == begin ? 'M' : 'L', x(i), axes.y.place(column[static_cast<std::size_t>(i)].most) - .4);
    for (int i = end; i-- > begin;)
      add_point(path, 'L', x(i), axes.y.place(column[static_cast<std::size_t>(i)].least) + .4);
    path += 'Z';
    begin = end;
  }
  return path;
}

/// The mean around each column, over about a fiftieth of the points, as many before as behind it.
std::string smoothed(const Axes& axes, std::span<const Point> points) {
  constexpr int reach = columns / 100;
  std::vector<double> sum(columns), count(columns);
  for (const Point& p : points) {
    if (!std::isfinite(p.value)) continue;
    const double share = (axes.x.place(static_cast<double>(p.step)) - axes.x.origin) / axes.x.length;
    const auto column = static_cast<std::size_t>(std::clamp(share * columns, 0., columns - 1.));
    sum[column] += p.value;
    count[column] += 1;
  }
  std::string path;
  for (int i = 0; i < columns; ++i) {
    if (count[static_cast<std::size_t>(i)] == 0) continue;
    double total = 0, of = 0;
    for (int j = std::max(0, i - reach); j <= std::min(columns - 1, i + reach); ++j) {
      total += sum[static_cast<std::size_t>(j)];
      of += count[static_cast<std::size_t>(j)];
    }
    add_point(path, path.empty() ? 'M' : 'L', axes.x.origin + axes.x.length * (i + .5) / columns,
              axes.y.place(total / of));
  }
  return path;
}

/// Crosses at the top, at most a few; the rest as a number.
std::string not_finite(const Axes& axes, std::span<const Point> points) {
  std::string out;
  std::size_t count = 0;
  double last = -10;
  for (const Point& p : points) {
    if (std::isfinite(p.value)) continue;
    ++count;
    const double x = axes.x.place(static_cast<double>(p.step));
    if (x - last < 6) continue;
    last = x;
    out += fmt::format("M{:.1f} {}l6 6m0-6l-6 6", x - 3, top);
  }
  if (count == 0) return "";
  return fmt::format(
      "<path class=\"lost\" d=\"{}\"/><text class=\"lost-text\" x=\"{:.1f}\" y=\"{}\">{} not finite</text>", out,
      width - right + 6, top + 6, count);
}

double last_finite(const Metric& m) {
  for (std::size_t i = m.points.size(); i-- > 0;)
    if (std::isfinite(m.points[i].value)) return m.points[i].value;
  return NAN;
}

std::string grid(const Axes& axes) {
  std::string out = "<g class=\"grid\">";
  for (const Tick& t : ticks_of(axes.y, 4)) {
    const double y = axes.y.place(t.value);
    out += fmt::format("<path d=\"M{} {:.1f}H{}\"/><text x=\"{}\" y=\"{:.1f}\" class=\"ry\">{}</text>", left, y,
                       width - right, left - 8, y + 4, t.text);
  }
  for (const Tick& t : ticks_of(axes.x, 5)) {
    if (t.value != std::round(t.value)) continue;  // there is no half step
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" class=\"rx\">{}</text>", axes.x.place(t.value), height - 8, t.text);
  }
  return out + "</g>";
}

}  // namespace

std::string chart(std::string_view title, std::span<const Line> lines) {
  Extent x, y;
  std::size_t most = 0;
  for (const Line& line : lines)
    for (const Point& p : line.metric->points) {
      x.take(static_cast<double>(p.step));
      y.take(p.value);
      most = std::max(most, line.metric->points.size());
    }
  std::string out =
      fmt::format("<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title><desc>",
                  html::isolated(title, 120), width, height, html::escaped(title, 120));
  for (const Line& line : lines)
    out += fmt::format("{}: {} values, the last {}. ", html::escaped(line.label, 120), line.metric->points.size(),
                       short_number(line.metric->last()));
  out += "</desc>";
  Axes axes{scale_of(0, 1, left, width - left - right), scale_of(0, 1, height - bottom, top + bottom - height)};
  if (x.any) {
    axes.x.low = x.least;
    axes.x.high = x.most > x.least ? x.most : x.least + 1;
  }
  if (y.any) axes.y = scale_of(y.least, y.most, height - bottom, top + bottom - height);
  out += grid(axes);
  // Labels stand where the lines end, a line's height apart.
  std::vector<std::pair<double, std::size_t>> ends;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Metric& m = *lines[i].metric;
    if (m.points.size() > few)
      out += fmt::format("<path class=\"band c{}\" d=\"{}\"/><path class=\"line c{}\" d=\"{}\"/>", i,
                         band(axes, m.points), i, smoothed(axes, m.points));
    else
      out += fmt::format("<path class=\"line c{}\" d=\"{}\"/>", i, thin_line(axes, m.points));
    out += not_finite(axes, m.points);
    if (const double last = last_finite(m); std::isfinite(last)) ends.emplace_back(axes.y.place(last), i);
  }
  std::ranges::sort(ends);
  double floor = top;
  for (auto& [at, i] : ends) {
    at = std::max(at, floor);
    floor = at + 15;
    const std::string text =
        lines.size() > 1 ? html::escaped(lines[i].label, 16) : short_number(last_finite(*lines[i].metric));
    out += fmt::format("<text class=\"end t{}\" x=\"{}\" y=\"{:.1f}\">{}</text>", i, width - right + 6, at + 4, text);
  }
  return out + "</svg></figure>";
}

std::string sparkline(const Metric& metric) {
  constexpr double w = 120, h = 24;
  Extent x, y;
  for (const Point& p : metric.points) {
    x.take(static_cast<double>(p.step));
    y.take(p.value);
  }
  if (!y.any) return "";
  Axes axes{{x.least, x.most > x.least ? x.most : x.least + 1, 1, w - 2, false},
            scale_of(y.least, y.most, h - 2, 4 - h)};
  const std::string path = metric.points.size() > few ? smoothed(axes, metric.points) : thin_line(axes, metric.points);
  return fmt::format(
      "<svg class=\"spark\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\"><path class=\"line c0\" d=\"{}\"/></svg>", w, h,
      path);
}

}  // namespace tenon::track
