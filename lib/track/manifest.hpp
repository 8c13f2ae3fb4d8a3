// manifest.json: what is in a run's outputs/ when the run ends, with sizes and SHA-256.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "tenon/track.hpp"

namespace tenon::track {

/// Files below <folder>/outputs as they are now, `outputs/...`, sorted. What cannot be read is left out, with a
/// warning.
[[nodiscard]] std::vector<FileEntry> take_stock(const std::string& folder);
/// Their names only, without reading them.
[[nodiscard]] std::vector<std::string> names_of_files(const std::string& folder);
/// Writes <folder>/manifest.json. Throws IoError.
void write_manifest(const std::string& folder);
/// Nothing where there is no manifest or none that can be read.
[[nodiscard]] std::optional<std::vector<FileEntry>> read_manifest(const std::string& folder);

}  // namespace tenon::track
