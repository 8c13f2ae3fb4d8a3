// Steps, pace and the line of blocks.
#include "lib/cli/progress.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

namespace tenon::cli {
namespace {

using track::Metric;
using track::Point;

constexpr std::int64_t window_ms = 30'000;

/// A positive parameter; 0 where there is none.
std::int64_t count_of(const track::RunView& run, const char* wanted) {
  std::int64_t count = 0;
  for (const auto& [name, value] : run.params)
    if (name == wanted) {
      std::int64_t n = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
      if (error == std::errc() && end == value.data() + value.size() && n > 0) count = n;
    }
  return count;
}

bool tells_of_loss(const Metric& m) {
  std::string name = m.name;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find("loss") != std::string::npos && !name.starts_with("epoch/") && name.find("val") == std::string::npos;
}

/// Steps a second of the newest points. A block of steps has one time, so only whole blocks are counted.
double pace_of(const std::vector<Point>& points) {
  const Point& last = points.back();
  const auto start = std::ranges::find_if(points, [&](const Point& p) { return p.time >= last.time - window_ms; });
  const auto after = std::find_if(start, points.end(), [&](const Point& p) { return p.time > start->time; });
  if (after == points.end()) return 0;
  const Point& first = *std::prev(after);
  const double steps = static_cast<double>(last.step) - static_cast<double>(first.step);
  return std::max(0., steps / (static_cast<double>(last.time - first.time) / 1000));
}

}  // namespace

const Metric* main_metric(const track::RunView& run) {
  if (const Metric* loss = run.metric("loss")) return loss;
  const Metric* best = nullptr;
  const auto better = [&](const Metric& m) {
    if (best == nullptr) return true;
    if (tells_of_loss(m) != tells_of_loss(*best)) return tells_of_loss(m);
    return m.points.size() > best->points.size();
  };
  for (const Metric& m : run.metrics)
    if (!m.points.empty() && better(m)) best = &m;
  return best;
}

Progress progress_of(const track::RunView& run) {
  Progress p;
  p.epochs = count_of(run, "epochs");
  const std::int64_t per_epoch = count_of(run, "steps_per_epoch");
  if (per_epoch > 0 && p.epochs > 0 && p.epochs <= std::numeric_limits<std::int64_t>::max() / per_epoch)
    p.total = p.epochs * per_epoch;
  const Metric* steps = main_metric(run);
  if (steps == nullptr || steps->points.empty()) return p;
  const std::int64_t last = steps->points.back().step;
  p.done = last >= 0 && last < std::numeric_limits<std::int64_t>::max() ? last + 1 : 0;
  if (per_epoch > 0 && p.epochs > 0) p.epoch = std::clamp<std::int64_t>((p.done - 1) / per_epoch + 1, 1, p.epochs);
  p.steps_per_second = pace_of(steps->points);
  if (run.status == track::Status::running && p.total && p.steps_per_second > 0)
    p.seconds_left = static_cast<double>(std::max<std::int64_t>(0, *p.total - p.done)) / p.steps_per_second;
  return p;
}

std::string sparkline(std::span<const Point> points, std::size_t width) {
  constexpr std::array<const char*, 8> blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::size_t count = std::min(width, points.size());
  std::vector<double> means(count);
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first = points.size() * i / count, end = points.size() * (i + 1) / count;
    for (std::size_t j = first; j < end; ++j) means[i] += points[j].value / static_cast<double>(end - first);
    if (!std::isfinite(means[i])) continue;
    least = std::min(least, means[i]);
    most = std::max(most, means[i]);
  }
  std::string line;
  for (const double mean : means) {
    if (!std::isfinite(mean)) {
      line += "×";
      continue;
    }
    // Halves, so that a range beyond the largest double stays one.
    const double range = most / 2 - least / 2, share = range > 0 ? (mean / 2 - least / 2) / range : 0;
    line += blocks[std::min<std::size_t>(7, static_cast<std::size_t>(share * 8))];
  }
  return line;
}

}  // namespace tenon::cli
