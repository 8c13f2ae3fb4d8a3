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

// The size is that of a phone's page, so that text keeps its size there.
constexpr double width = 480, height = 220, right = 96, top = 16, bottom = 32;
constexpr std::size_t few = 400, dotted = 40;  // points that are drawn one by one, and with a dot each
constexpr std::size_t columns = 320;           // of more

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

/// Without a margin; the next number up where there is one step alone.
void fit_steps(Scale& scale, const Extent& steps) {
  scale.logarithmic = false;
  scale.low = steps.least;
  scale.high = std::max(steps.most, steps.least + std::max(1., 1e-9 * std::abs(steps.least)));
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

/// What lies in one column of the page.
struct Column {
  Extent extent;
  double smooth = 0, last = 0;  // the smoothed line and the values, where they leave the column
  bool broken = false;          // a value in it is not finite
};

/// The smoothed line is an exponential mean over about a hundredth of the points, free of the pull of its start.
std::vector<Column> columns_of(const Axes& axes, std::span<const Point> points) {
  std::vector<Column> found(columns);
  const double keep = 1 - 1 / std::max(1., static_cast<double>(points.size()) / 100);
  double mean = 0, weight = 0;
  for (const Point& p : points) {
    const double share = (axes.x.place(static_cast<double>(p.step)) - axes.x.origin) / axes.x.length;
    Column& c = found[static_cast<std::size_t>(std::clamp(share * columns, 0., columns - 1.))];
    if (!std::isfinite(p.value)) {
      c.broken = true;
      continue;
    }
    c.extent.take(p.value);
    c.last = p.value;
    mean = keep * mean + (1 - keep) * p.value;
    weight = keep * weight + (1 - keep);
    c.smooth = mean / weight;
  }
  return found;
}

double middle(const Axes& axes, std::size_t column) {
  return axes.x.origin + axes.x.length * (static_cast<double>(column) + .5) / columns;
}

/// From the least to the largest value in each column, as an area. Columns without a value are passed over: they are
/// between points that lie further apart; those with none but values that are not finite leave a gap.
std::string band(const Axes& axes, const std::vector<Column>& column) {
  std::string path;
  std::vector<std::size_t> stretch;
  const auto close = [&] {
    for (std::size_t i = 0; i < stretch.size(); ++i)
      add_point(path, i == 0 ? 'M' : 'L', middle(axes, stretch[i]), axes.y.place(column[stretch[i]].extent.most) - .4);
    for (std::size_t i = stretch.size(); i-- > 0;)
      add_point(path, 'L', middle(axes, stretch[i]), axes.y.place(column[stretch[i]].extent.least) + .4);
    if (!stretch.empty()) path += 'Z';
    stretch.clear();
  };
  for (std::size_t i = 0; i < columns; ++i)
    if (column[i].extent.any)
      stretch.push_back(i);
    else if (column[i].broken)
      close();
  close();
  return path;
}

std::string smoothed(const Axes& axes, const std::vector<Column>& column) {
  std::string path;
  bool pen_down = false;
  for (std::size_t i = 0; i < columns; ++i) {
    if (column[i].broken) pen_down = false;
    if (!column[i].extent.any) continue;
    add_point(path, pen_down ? 'L' : 'M', middle(axes, i), axes.y.place(column[i].smooth));
    pen_down = true;
  }
  return path;
}

/// Crosses at the top, as many as there is room for; how many there are as a number.
std::string not_finite(const Axes& axes, std::span<const Line> lines) {
  std::string crosses;
  std::size_t count = 0;
  for (const Line& line : lines) {
    double last = -10;
    for (const Point& p : line.metric->points) {
      if (std::isfinite(p.value)) continue;
      ++count;
      const double x = axes.x.place(static_cast<double>(p.step));
      if (std::abs(x - last) < 8) continue;
      last = x;
      // Steps that go back and forth would make as many crosses as there are points.
      if (crosses.size() < 4000) crosses += fmt::format("M{:.1f} {}l6 6m0-6l-6 6", x - 3, top - 10);
    }
  }
  if (count == 0) return "";
  return fmt::format("<path class=\"lost\" d=\"{}\"/><text class=\"lost-text\" x=\"{}\" y=\"{}\">{} not finite</text>",
                     crosses, width - right + 8, top - 2, count);
}

/// A line ready to be drawn.
struct Curve {
  std::string_view label;
  const Metric* metric = nullptr;
  std::vector<Column> columns;  // of many points
  bool smoothed = false;
  double end = NAN;  // the last value drawn; NaN for none
};

Curve curve_of(const Axes& axes, const Line& line) {
  Curve curve;
  curve.label = line.label;
  curve.metric = line.metric;
  if (line.metric->points.size() <= few) {
    for (const Point& p : line.metric->points)
      if (std::isfinite(p.value)) curve.end = p.value;
    return curve;
  }
  curve.columns = columns_of(axes, line.metric->points);
  // Smoothing lags behind, and what hardly moves within a column has no need of it: a learning rate, say.
  double heights = 0;
  for (const Column& c : curve.columns)
    if (c.extent.any) heights += std::abs(axes.y.place(c.extent.most) - axes.y.place(c.extent.least));
  curve.smoothed = heights > static_cast<double>(curve.columns.size());
  for (Column& c : curve.columns) {
    if (!curve.smoothed) c.smooth = c.last;
    if (c.extent.any) curve.end = c.smooth;
  }
  return curve;
}

std::string grid(const Axes& axes, const std::vector<Tick>& ticks, std::string_view unit) {
  const double left = axes.x.origin;
  std::string out = "<g class=\"grid\">";
  for (const Tick& t : ticks) {
    const double y = axes.y.place(t.value);
    out += fmt::format("<path d=\"M{} {:.1f}H{}\"/><text x=\"{}\" y=\"{:.1f}\" class=\"ry\">{}</text>", left, y,
                       width - right, left - 8, y + 5, t.text);
  }
  for (const Tick& t : ticks_of(axes.x, 4)) {
    if (t.value != std::round(t.value)) continue;  // there is no half step
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" class=\"rx\">{}</text>", axes.x.place(t.value), height - 8, t.text);
  }
  return out + fmt::format("<text x=\"{}\" y=\"{}\" class=\"ry\">{}</text></g>", width - 4, height - 8, unit);
}

std::string drawn(const Axes& axes, const Curve& curve, std::size_t colour) {
  const Metric& m = *curve.metric;
  if (!curve.columns.empty())
    return fmt::format("<path class=\"band c{0}\" d=\"{1}\"/><path class=\"line c{0}\" d=\"{2}\"/>", colour,
                       band(axes, curve.columns), smoothed(axes, curve.columns));
  std::string out = fmt::format("<path class=\"line c{}\" d=\"{}\"/>", colour, thin_line(axes, m.points));
  if (m.points.size() > dotted) return out;
  std::string dots;
  for (const Point& p : m.points)
    if (std::isfinite(p.value)) {
      add_point(dots, 'M', axes.x.place(static_cast<double>(p.step)), axes.y.place(p.value));
      dots += "h0";
    }
  return out + fmt::format("<path class=\"dots c{}\" d=\"{}\"/>", colour, dots);
}

/// The last values in words, under the chart's name.
std::string summary(std::span<const Curve> curves, bool logarithmic) {
  std::string out;
  bool smoothed = false;
  for (const Curve& c : curves) {
    if (!out.empty()) out += " · ";
    out += (curves.size() > 1 ? html::escaped(c.label, 60) : "last") + " " + short_number(c.metric->last());
    smoothed = smoothed || c.smoothed;
  }
  const std::size_t values = curves[0].metric->points.size();
  return out + fmt::format(", {} value{}{}{}", values, values == 1 ? "" : "s", smoothed ? ", line smoothed" : "",
                           logarithmic ? ", log scale" : "");
}

}  // namespace

std::string chart(std::string_view title, std::span<const Line> lines) {
  Extent x, y;
  for (const Line& line : lines)
    for (const Point& p : line.metric->points) {
      x.take(static_cast<double>(p.step));
      y.take(p.value);
    }
  Axes axes{{}, scale_of(y.any ? y.least : 0, y.any ? y.most : 1, height - bottom, top + bottom - height)};
  // Room for the longest number beside the axis; bytes are a little more than what is seen of "−".
  const std::vector<Tick> ticks = ticks_of(axes.y, 4);
  std::size_t longest = 4;
  for (const Tick& t : ticks) longest = std::max(longest, t.text.size());
  const double left = 14 + 9.5 * static_cast<double>(std::min<std::size_t>(longest, 14));
  axes.x = scale_of(0, 1, left, width - left - right);
  if (x.any) fit_steps(axes.x, x);
  std::vector<Curve> curves;
  for (const Line& line : lines) curves.push_back(curve_of(axes, line));
  std::string out = fmt::format(
      "<figure><figcaption>{} <span>{}</span></figcaption><svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>"
      "<desc>",
      html::isolated(title, 120), summary(curves, axes.y.logarithmic), width, height, html::escaped(title, 120));
  for (const Line& line : lines)
    out += fmt::format("{}: {} values, the last {}. ", html::escaped(line.label, 120), line.metric->points.size(),
                       short_number(line.metric->last()));
  if (y.any) out += fmt::format("From {} to {}.", short_number(y.least), short_number(y.most));
  out += "</desc>" + grid(axes, ticks, title.starts_with("epoch/") ? "epoch" : "step");
  // Labels stand where the lines end, a line's height apart.
  std::vector<std::pair<double, std::size_t>> ends;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    out += drawn(axes, curves[i], i);
    if (std::isfinite(curves[i].end)) ends.emplace_back(axes.y.place(curves[i].end), i);
  }
  out += not_finite(axes, lines);
  std::ranges::sort(ends);
  if (ends.size() > 1 && ends.back().first - ends.front().first < 16) ends.front().first = ends.back().first - 16;
  for (const auto& [at, i] : ends) {
    std::string text = short_number(curves[i].end);
    if (lines.size() > 1)
      text = html::escaped(curves[i].label, 12);
    else if (curves[i].smoothed)
      text = "≈ " + short_number(curves[i].end, 3);
    out += fmt::format("<text class=\"end t{}\" x=\"{}\" y=\"{:.1f}\">{}</text>", i, width - right + 8, at + 4, text);
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
  Axes axes{scale_of(0, 1, 2, w - 4), scale_of(y.least, y.most, h - 2, 4 - h)};
  fit_steps(axes.x, x);
  const std::string path =
      metric.points.size() > few ? smoothed(axes, columns_of(axes, metric.points)) : thin_line(axes, metric.points);
  return fmt::format(
      "<svg class=\"spark\" viewBox=\"0 0 {} {}\" role=\"img\"><title>{}, last {}</title><path class=\"line c0\" "
      "d=\"{}\"/></svg>",
      w, h, html::escaped(metric.name, 60), short_number(metric.last()), path);
}

}  // namespace tenon::track
