// How hooks write numbers and names, and the figures of an epoch as one list.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/csv_cell.hpp"
#include "tenon/train.hpp"

namespace tenon::detail {

/// Loss, metrics, and both of the validation with `val_` before their names.
inline std::vector<NamedValue> figures_of(const EpochRecord& e) {
  std::vector<NamedValue> all{{"loss", e.loss}};
  all.insert(all.end(), e.metrics.begin(), e.metrics.end());
  if (e.validation_loss) all.push_back({"val_loss", *e.validation_loss});
  for (const NamedValue& m : e.validation_metrics) all.push_back({"val_" + m.name, m.value});
  return all;
}

/// As many digits as it takes to get the same bits back. A NaN has a sign, which says nothing.
template <class T>
std::string number(T value) {
  return std::isnan(value) ? "nan" : fmt::format("{}", value);
}

/// As Keras prints a figure: four places, or an exponent for what they would not show.
inline std::string figure(double value) {
  if (!std::isfinite(value)) return number(value);
  return value == 0 || std::fabs(value) > 1e-3 ? fmt::format("{:.4f}", value) : fmt::format("{:.4e}", value);
}

/// 5s, 1:05, 1:01:05
inline std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::isfinite(seconds) && seconds > 0 ? seconds : 0);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  if (s >= 60) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}s", s);
}

/// 2s/step, 11ms/step, 340us/step
inline std::string per_step(double seconds) {
  if (seconds >= 1) return fmt::format("{:.0f}s/step", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.0f}ms/step", seconds * 1e3);
  return fmt::format("{:.0f}us/step", seconds * 1e6);
}

/// 7.81%
inline std::string percent(double share) { return fmt::format("{:.2f}%", 100 * share); }

/// ━━━━━───── with `done` of `width` cells heavy.
inline std::string bar(int done, int width) {
  std::string text;
  for (int i = 0; i < width; ++i) text += i < done ? "━" : "─";
  return text;
}

/// JSON knows no NaN: that and the infinities are strings.
template <class T>
std::string json_number(T value) {
  if (std::isnan(value)) return "\"NaN\"";
  if (std::isinf(value)) return value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  return number(value);
}

inline std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Writes and flushes; an output that is gone does not stop training.
inline void put(std::FILE* out, const std::string& text) {
  (void)std::fwrite(text.data(), 1, text.size(), out);
  (void)std::fflush(out);
}

}  // namespace tenon::detail
