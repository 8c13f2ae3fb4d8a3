// What the commands print: a table for people, the same rows as CSV, or one JSON document.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/track/text.hpp"
#include "tenon/track.hpp"

namespace tenon::cli {

using track::Json;

/// What is common to the flags of the commands.
struct Options {
  std::string root;    // of runs; empty: $TENON_RUNS, else `runs`
  std::string models;  // empty: beside the runs
  bool json = false, csv = false;
};

/// The text that people see and, where that says it shorter, the exact one for CSV. Texts are any bytes; what they may
/// do to a terminal or a spreadsheet is taken care of where they are printed.
struct Cell {
  Cell(std::string text) : shown(text), exact(std::move(text)) {}  // NOLINT: a cell is a text
  Cell(const char* text) : Cell(std::string(text)) {}              // NOLINT
  Cell(std::string text, std::string all) : shown(std::move(text)), exact(std::move(all)) {}
  std::string shown, exact;
  bool number = false;  // at the right; no formula even where it begins with a minus
  int colour = 0;       // of ECMA-48; 0: none
};
[[nodiscard]] Cell number_cell(double value);
[[nodiscard]] Cell count_cell(std::int64_t value);
[[nodiscard]] Cell size_cell(std::uint64_t bytes);
[[nodiscard]] Cell time_cell(std::int64_t ms);
[[nodiscard]] Cell status_cell(track::Status status);

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<Cell>> rows;
};

/// Writes to stdout; throws IoError when it is not taken.
void print(std::string_view text);
void print_table(const Table& table);
void print_csv(const Table& table);
void print_json(const Json& document);
/// print_csv where --csv was given, else print_table.
void print_rows(const Table& table, const Options& options);

/// A finite number, or one of "NaN", "Infinity", "-Infinity".
[[nodiscard]] Json json_number(double value);
/// Text of any bytes; see lib/track/README.md for those that are no UTF-8.
[[nodiscard]] Json json_text(std::string_view bytes);
[[nodiscard]] Json json_pairs(const track::Pairs& pairs);
/// As many digits as people read.
[[nodiscard]] std::string short_number(double value);

[[nodiscard]] bool on_terminal();
/// True on a terminal that is not dumb, unless NO_COLOR is set.
[[nodiscard]] bool coloured();
/// The status in its colour, where there are colours.
[[nodiscard]] std::string status_text(track::Status status);

}  // namespace tenon::cli
