// A run in rows and as JSON.
#pragma once
#include <vector>

#include "lib/cli/output.hpp"
#include "tenon/track.hpp"

namespace tenon::cli {

/// One row a run; as CSV with a column for every parameter and the last value of every metric that one of them has.
[[nodiscard]] Table table_of(const std::vector<track::RunView>& runs, bool csv);
/// One row a metric: how many values, the first, last, least and most.
[[nodiscard]] Table table_of_metrics(const track::RunView& run);
[[nodiscard]] Table table_of_files(const std::vector<track::FileEntry>& files);

/// Id, names, status, times, parameters, and the last value of each metric.
[[nodiscard]] Json json_of(const track::RunView& run);
[[nodiscard]] Json json_of_files(const std::vector<track::FileEntry>& files);
/// Everything but the values of metrics, which are told by their number and range.
[[nodiscard]] Json whole_json_of(const track::RunView& run);

/// How long the run took, or has taken so far: 5s, 1:05, 1:01:05.
[[nodiscard]] std::string took(const track::RunView& run);

/// Least and most of the values that are numbers; NaN where none is.
struct Extremes {
  double least, most;
};
[[nodiscard]] Extremes extremes_of(const track::Metric& metric);

}  // namespace tenon::cli
