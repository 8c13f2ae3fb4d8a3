// Pages to look at: a run with charts of all its metrics, and all runs beside one another. Each page is one file: no script,
// nothing fetched, light or dark as the reader's system is.
#pragma once
#include <string>

#include "tenon/track.hpp"

namespace tenon::track {

/// Writes <run>/report.html, in place of the one that was there, and returns its path. While the run goes on the page asks
/// the browser to load it anew every few seconds. Throws IoError.
std::string write_report(const RunView& run);
/// Writes <root>/index.html, the newest run first, and returns its path; `root` as in ExperimentOptions. Throws IoError.
std::string write_index(const std::string& root = {});

}  // namespace tenon::track
