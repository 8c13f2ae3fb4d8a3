// Tables and numbers.
#include "lib/cli/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "lib/io/csv_cell.hpp"

namespace tenon::cli {
namespace {

/// Columns on a terminal, near enough: code points.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

/// A negative number begins like a formula, and is none.
bool is_number(const std::string& cell) {
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return error == std::errc() && end == cell.data() + cell.size();
}

bool turns_text(std::string_view text) {
  for (const std::string_view mark : {"\u061C", "\u200E", "\u200F", "\u202A", "\u202B", "\u202C", "\u202D", "\u202E",
                                      "\u2066", "\u2067", "\u2068", "\u2069"})
    if (text.starts_with(mark)) return true;
  return false;
}

}  // namespace

std::string plain(std::string_view text, std::size_t most) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (out.size() >= most && (c & 0xC0) != 0x80) return out + "…";
    const bool second_controls =
        c == 0xC2 && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) & 0xE0) == 0x80;
    if (c < 0x20 || c == 0x7F || second_controls) {
      out += '?';
      i += second_controls ? 1 : 0;
    } else if (turns_text(text.substr(i))) {
      out += '?';
      i += (c & 0xE0) == 0xC0 ? 1 : 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return fmt::format("{:.6g}", value);
}

nlohmann::ordered_json json_number(double value) {
  if (std::isfinite(value)) return value;
  return number(value);
}

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string moment(std::int64_t milliseconds) {
  const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm utc{};
  if (milliseconds <= 0 || ::gmtime_r(&seconds, &utc) == nullptr) return "-";
  char text[64];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc)};
}

std::string duration(std::int64_t milliseconds) {
  const std::int64_t s = std::max<std::int64_t>(0, milliseconds) / 1000;
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{:.1f}s", static_cast<double>(std::max<std::int64_t>(0, milliseconds)) / 1000);
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += row[i] + (i + 1 < row.size() ? std::string(widths[i] - width_of(row[i]) + 2, ' ') : "");
    out += line + "\n";
  }
  return out;
}

std::string Table::csv() const {
  std::string out;
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      out += (is_number(row[i]) ? row[i] : detail::csv_cell(row[i])) + (i + 1 < row.size() ? "," : "\n");
  return out;
}

void print(const std::string& text) {
  (void)std::fwrite(text.data(), 1, text.size(), stdout);
  (void)std::fflush(stdout);
}
void print(const Table& table, Form form) { print(form == Form::csv ? table.csv() : table.text()); }

}  // namespace tenon::cli
