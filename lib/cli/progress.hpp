// How far a run is, from what it has logged.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/track.hpp"

namespace tenon::cli {

struct Progress {
  std::int64_t done = 0;               // steps
  std::optional<std::int64_t> total;   // by the params `epochs` and `steps_per_epoch`
  std::int64_t epoch = 0, epochs = 0;  // the one that runs, from 1; 0 where it is not known
  double steps_per_second = 0;         // of the last 30 s that were logged; 0: not known
  std::optional<double> seconds_left;  // while the run goes on
};

/// The metric that tells of the steps: `loss`, else one with loss in its name, else that with the most values; null
/// where nothing has been logged.
[[nodiscard]] const track::Metric* main_metric(const track::RunView& run);

/// Steps are those of main_metric.
[[nodiscard]] Progress progress_of(const track::RunView& run);

/// The values in `width` blocks of eight heights, each the mean of its share; × where that is no finite number.
[[nodiscard]] std::string sparkline(std::span<const track::Point> points, std::size_t width);

}  // namespace tenon::cli
