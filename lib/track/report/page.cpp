// The frame of a page. Its policy allows nothing from outside, so that not even a mistake here could load anything.
#include "lib/track/report/page.hpp"

#include <fmt/format.h>

#include <ctime>

#include "lib/track/report/html.hpp"
#include "lib/track/report/style.hpp"

namespace tenon::track::html {

std::string opening(std::string_view title, int refresh) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\">\n{}<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
      refresh > 0 ? fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n", refresh) : "", escaped(title, 200),
      style);
}
std::string closing() { return "</main>\n</body>\n</html>\n"; }

std::string moment(std::int64_t milliseconds) {
  const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm utc{};
  if (milliseconds <= 0 || ::gmtime_r(&seconds, &utc) == nullptr) return "–";
  char text[64];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc)};
}

std::string duration(std::int64_t milliseconds) {
  const std::int64_t s = milliseconds / 1000;
  if (milliseconds < 0) return "–";
  if (s < 60) return fmt::format("{:.1f} s", static_cast<double>(milliseconds) / 1000);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
}

std::string size(std::uint64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, units[unit]);
}

std::string status(Status s) { return fmt::format("<span class=\"status {0}\">{0}</span>", name_of(s)); }

bool epochs_tell(const RunView& run, const Metric& metric) {
  const std::string name = metric.name.starts_with("step/") ? metric.name.substr(5) : metric.name;
  return metric.points.size() > 1 && run.metric("epoch/" + name) != nullptr;
}

std::string short_name(const RunView& run, const Metric& metric) {
  if (!metric.name.starts_with("epoch/")) return metric.name;
  const Metric* plain = run.metric(metric.name.substr(6));
  return plain == nullptr || epochs_tell(run, *plain) ? metric.name.substr(6) : metric.name;
}

}  // namespace tenon::track::html
