// Tables, CSV and JSON on stdout.
#include "lib/cli/output.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "lib/cli/text.hpp"
#include "lib/train/hooks/format.hpp"
#include "tenon/error.hpp"

namespace tenon::cli {
namespace {

constexpr std::size_t most_cells = 60;  // of a column

std::string exact_number(double value) {
  std::string text;
  track::add_number(text, value);
  std::erase(text, '"');
  return text;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int colour_of(track::Status status) {
  return status == track::Status::completed ? 32 : status == track::Status::running ? 36 : 31;
}
std::string painted(const std::string& text, int colour) { return fmt::format("\x1b[{}m{}\x1b[0m", colour, text); }

}  // namespace

Cell number_cell(double value) {
  Cell cell(short_number(value), exact_number(value));
  cell.number = true;
  return cell;
}
Cell count_cell(std::int64_t value) {
  Cell cell(std::to_string(value));
  cell.number = true;
  return cell;
}
Cell size_cell(std::uint64_t bytes) {
  Cell cell(size_text(bytes), std::to_string(bytes));
  cell.number = true;
  return cell;
}
Cell time_cell(std::int64_t ms) { return {moment(ms), iso_moment(ms)}; }
Cell status_cell(track::Status status) {
  Cell cell{std::string(track::name_of(status))};
  cell.colour = colour_of(status);
  return cell;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw IoError(fmt::format("[stdout] cannot write: {}", std::strerror(errno)));
}

void print_table(const Table& table) {
  std::vector<std::vector<std::string>> texts(table.rows.size());
  std::vector<std::size_t> widths;
  for (const std::string& name : table.header) widths.push_back(cells(name));
  for (std::size_t r = 0; r < texts.size(); ++r)
    for (std::size_t c = 0; c < widths.size(); ++c) {
      // The last column has the rest of the line.
      std::string text = visible(table.rows[r][c].shown);
      texts[r].push_back(c + 1 < widths.size() ? clipped(text, most_cells) : text);
      widths[c] = std::max(widths[c], cells(texts[r][c]));
    }
  const auto padded = [&](const std::string& text, std::size_t column, bool right) {
    const std::string space(widths[column] - cells(text), ' ');
    return right ? space + text : column + 1 < widths.size() ? text + space : text;
  };
  const auto numeric = [&](std::size_t c) { return !table.rows.empty() && table.rows[0][c].number; };
  std::string out = coloured() ? "\x1b[1m" : "";
  for (std::size_t c = 0; c < widths.size(); ++c) out += (c > 0 ? "  " : "") + padded(table.header[c], c, numeric(c));
  out += coloured() ? "\x1b[0m\n" : "\n";
  for (std::size_t r = 0; r < texts.size(); ++r) {
    for (std::size_t c = 0; c < widths.size(); ++c) {
      const Cell& cell = table.rows[r][c];
      const std::string text = padded(texts[r][c], c, cell.number);
      out += (c > 0 ? "  " : "") + (coloured() && cell.colour != 0 ? painted(text, cell.colour) : text);
    }
    out += '\n';
  }
  print(out);
}

void print_csv(const Table& table) {
  const bool terminal = on_terminal();  // a file gets every byte
  const auto cell = [&](const std::string& text) { return detail::csv_cell(terminal ? visible(text) : text); };
  std::string out;
  for (std::size_t c = 0; c < table.header.size(); ++c) out += (c > 0 ? "," : "") + cell(table.header[c]);
  out += '\n';
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      out += (c > 0 ? "," : "") + (row[c].number ? row[c].exact : cell(row[c].exact));
    out += '\n';
  }
  print(out);
}

// In ASCII, so that no character of it means anything to a terminal.
void print_json(const Json& document) { print(document.dump(2, ' ', true) + "\n"); }

void print_rows(const Table& table, const Options& options) {
  if (options.csv)
    print_csv(table);
  else
    print_table(table);
}

Json json_number(double value) { return std::isfinite(value) ? Json(value) : Json(exact_number(value)); }
Json json_text(std::string_view bytes) { return track::to_utf8(bytes); }
Json json_pairs(const track::Pairs& pairs) {
  Json object = Json::object();
  for (const auto& [name, value] : pairs) object[track::to_utf8(name)] = json_text(value);
  return object;
}

std::string short_number(double value) {
  return std::isfinite(value) ? fmt::format("{:.6g}", value) : exact_number(value);
}

bool on_terminal() { return ::isatty(STDOUT_FILENO) == 1; }
bool coloured() {
  static const bool colours = on_terminal() && variable("NO_COLOR").empty() && variable("TERM") != "dumb";
  return colours;
}

std::string status_text(track::Status status) {
  const std::string name(track::name_of(status));
  return coloured() ? painted(name, colour_of(status)) : name;
}

}  // namespace tenon::cli
