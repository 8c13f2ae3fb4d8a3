// tenon watch: a run as it goes on. On a terminal a few lines that are drawn anew; elsewhere a line for every change.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "lib/cli/commands.hpp"

namespace tenon::cli {
namespace {

using track::Metric;
using track::RunView;

std::int64_t param(const RunView& v, const char* name) {
  for (const auto& [known, value] : v.params)
    if (known == name) return std::strtoll(value.c_str(), nullptr, 10);
  return 0;
}

const Metric* loss_of(const RunView& v) {
  for (const char* name : {"step/loss", "epoch/loss", "Loss", "loss"})
    if (const Metric* m = v.metric(name)) return m;
  return nullptr;
}

/// The last points, or means of them, as blocks of eight heights.
std::string sparkline(const Metric& m, std::size_t width) {
  std::vector<double> columns;
  const std::size_t n = m.points.size();
  for (std::size_t i = 0; i < std::min(n, width); ++i) {
    double sum = 0, count = 0;
    for (std::size_t k = i * n / std::min(n, width); k < (i + 1) * n / std::min(n, width); ++k)
      if (std::isfinite(m.points[k].value)) {
        sum += m.points[k].value;
        count += 1;
      }
    if (count > 0) columns.push_back(sum / count);
  }
  if (columns.empty()) return "";
  const auto [least, most] = std::ranges::minmax(columns);
  constexpr const char* blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  for (const double v : columns)
    text += blocks[most > least ? static_cast<std::size_t>(std::lround((v - least) / (most - least) * 7)) : 0];
  return text;
}

struct Progress {
  std::int64_t done = 0, of = 0, per_epoch = 0;
  double per_second = 0;
};
Progress progress_of(const RunView& v) {
  Progress p;
  p.per_epoch = param(v, "steps_per_epoch");
  p.of = p.per_epoch * param(v, "epochs");
  const Metric* steps = v.metric("step/loss");
  if (steps == nullptr || steps->points.empty()) return p;
  p.done = steps->points.back().step + 1;
  // Over about the last ten seconds.
  const track::Point& last = steps->points.back();
  const auto recent =
      std::ranges::find_if(steps->points, [&](const track::Point& x) { return x.time >= last.time - 10000; });
  if (last.time > recent->time)
    p.per_second =
        1000. * static_cast<double>(last.step - recent->step) / static_cast<double>(last.time - recent->time);
  return p;
}

std::string bar(double share, int width) {
  std::string text;
  for (int i = 0; i < width; ++i) text += i < static_cast<int>(share * width + .5) ? "━" : "─";
  return text;
}

std::string latest(const RunView& v) {
  std::string text;
  for (const Metric& m : v.metrics)
    if (m.name.starts_with("epoch/") && !m.name.starts_with("epoch/lr"))
      text += fmt::format("{}{} {}", text.empty() ? "" : "  ", plain(m.name.substr(6), 24), number(m.last()));
  return text;
}

std::string one_line(const RunView& v, const Progress& p) {
  const Metric* loss = loss_of(v);
  return fmt::format("{} {} step {}{} loss {} {:.1f} steps/s\n", v.id, track::name_of(v.status), p.done,
                     p.of > 0 ? fmt::format("/{}", p.of) : "", loss != nullptr ? number(loss->last()) : "-",
                     p.per_second);
}

std::string screen(const RunView& v, const Progress& p) {
  std::string text = fmt::format("{}  {}  {}\n", v.id, plain(v.name, 30), track::name_of(v.status));
  for (const auto& [name, value] : v.environment)
    if (name == "device") text += plain(value, 100) + "\n";
  if (p.of > 0) {
    const double share = std::clamp(static_cast<double>(p.done) / static_cast<double>(p.of), 0., 1.);
    text += fmt::format(
        "{} {:3.0f} %  epoch {}/{}  step {}/{}", bar(share, 30), 100 * share,
        std::min(p.done / std::max<std::int64_t>(1, p.per_epoch) + 1, p.of / std::max<std::int64_t>(1, p.per_epoch)),
        p.of / std::max<std::int64_t>(1, p.per_epoch), p.done, p.of);
    if (p.per_second > 0 && v.status == track::Status::running)
      text +=
          fmt::format("  {:.1f} steps/s  {} left", p.per_second,
                      duration(static_cast<std::int64_t>(1000 * static_cast<double>(p.of - p.done) / p.per_second)));
    text += "\n";
  }
  if (const Metric* loss = loss_of(v)) text += fmt::format("loss {}  {}\n", sparkline(*loss, 48), number(loss->last()));
  if (const std::string figures = latest(v); !figures.empty()) text += figures + "\n";
  if (!v.reason.empty()) text += plain(v.reason, 200) + "\n";
  return text;
}

}  // namespace

void watch(const Request& r) {
  RunView v = RunView::open(r.run, r.root);
  const bool terminal = ::isatty(STDOUT_FILENO) != 0 && !r.once;
  std::ptrdiff_t drawn = 0;
  for (bool changed = true;; changed = v.refresh()) {
    const Progress p = progress_of(v);
    if (terminal) {
      const std::string text = screen(v, p);
      // Up over what was drawn, and clear from there.
      print((drawn > 0 ? fmt::format("\x1b[{}A\x1b[J", drawn) : "") + text);
      drawn = std::ranges::count(text, '\n');
    } else if (changed) {
      print(r.once ? screen(v, p) : one_line(v, p));
    }
    if (r.once || v.status != track::Status::running) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(terminal ? 200 : 1000));
  }
}

}  // namespace tenon::cli
