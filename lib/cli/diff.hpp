// What two runs do not share.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/output.hpp"
#include "tenon/track.hpp"

namespace tenon::cli {

struct Difference {
  std::string what, name;    // param, tag, environment or metric, and its name
  std::optional<Cell> a, b;  // absent where the run has none
  bool same = false;
};

/// In the order of the first run; with `all` also what they share. Numbers are compared by value, NaN with NaN.
[[nodiscard]] std::vector<Difference> differences(const track::RunView& a, const track::RunView& b, bool all);
[[nodiscard]] Table table_of(const track::RunView& a, const track::RunView& b, const std::vector<Difference>& list);
[[nodiscard]] Json json_of(const track::RunView& a, const track::RunView& b, const std::vector<Difference>& list);

}  // namespace tenon::cli
