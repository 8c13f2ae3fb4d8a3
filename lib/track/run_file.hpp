// Which file of a run somebody means.
#pragma once
#include <string>

#include "tenon/track.hpp"

namespace tenon::track {

/// The file that `text` means, `outputs/...`: by its name in the run, else by its name in outputs/, else by a path of the
/// file system that leads to it. Throws UsageError that lists the run's files.
[[nodiscard]] std::string file_of_run(const RunView& run, const std::string& text);

}  // namespace tenon::track
