// Replaces a file so that a crash or a power cut at any instant leaves a complete one, and keeps the file before it.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace tenon {

/// Name of the generation before `path`.
[[nodiscard]] inline std::string previous_of(const std::string& path) { return path + ".prev"; }

/// Writes the pieces, one after the other, to a temporary file beside `path`, syncs it, gives it the name `path`, and
/// syncs the folder. A file that was there becomes previous_of(path). On any failure the temporary file is removed and
/// IoError names path and reason.
void replace_file(const std::string& path, std::span<const std::span<const std::byte>> pieces);

}  // namespace tenon
