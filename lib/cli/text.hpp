// How the program writes: tables, one JSON document, or CSV; nothing that a run holds reaches a terminal as a command to it.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/track.hpp"

namespace tenon::cli {

enum class Form : std::uint8_t { text, json, csv };

/// `text` for a terminal: control characters and the marks that turn text as '?', at most `most` bytes.
[[nodiscard]] std::string plain(std::string_view text, std::size_t most = 80);
/// 0.9913, 1.2e-05; NaN and infinities by name.
[[nodiscard]] std::string number(double value);
/// A double for JSON: NaN and infinities are strings.
[[nodiscard]] nlohmann::ordered_json json_number(double value);
/// Bytes for JSON: what is no UTF-8 is replaced.
[[nodiscard]] std::string dump(const nlohmann::ordered_json& json);
/// 2026-11-27 20:15:03
[[nodiscard]] std::string moment(std::int64_t milliseconds);
[[nodiscard]] std::string duration(std::int64_t milliseconds);

/// Rows under a heading, columns aligned; or the same as CSV, quoted so that a spreadsheet takes every cell for text.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) { rows_.push_back(std::move(heading)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string csv() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// Writes to stdout. A reader that has gone away is no error.
void print(const std::string& text);
void print(const Table& table, Form form);

}  // namespace tenon::cli
