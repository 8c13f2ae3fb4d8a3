// A chart of one metric, or of two that belong together, as SVG.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tenon/track.hpp"

namespace tenon::track {

struct Line {
  std::string_view label;
  const Metric* metric = nullptr;
};

/// Every point is in it: up to a few hundred as a line; more as a band from the least to the largest value of each column of
/// the page, with a smoothed line over it. Values that are not finite are marked at the top, and interrupt the line. The
/// size of the text is bounded, however many points there are.
[[nodiscard]] std::string chart(std::string_view title, std::span<const Line> lines);
/// A line of the size of a word, for tables.
[[nodiscard]] std::string sparkline(const Metric&);

}  // namespace tenon::track
