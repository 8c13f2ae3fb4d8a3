// The source revision of the folder that a program runs in.
#pragma once
#include <optional>
#include <string>

namespace tenon::track {

struct Revision {
  std::string commit;         // 40 or 64 hex digits; empty: no repository, or none with a commit
  std::optional<bool> dirty;  // whether a tracked file differs from it; nothing when git(1) did not say within 2 s
};

/// Reads the repository's files; only for `dirty` git(1) is asked.
[[nodiscard]] Revision revision_of(const std::string& folder);

}  // namespace tenon::track
