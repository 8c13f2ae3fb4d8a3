// Text as a cell of comma-separated values.
#pragma once
#include <string>
#include <string_view>

namespace tenon::detail {

/// A cell that a spreadsheet takes for text, never for a formula.
inline std::string csv_cell(const std::string& text) {
  std::string cell =
      !text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos ? "'" + text : text;
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace tenon::detail
