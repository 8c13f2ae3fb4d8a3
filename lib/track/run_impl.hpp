// The writer of a run: its log, its lock, and how far each metric has come.
#pragma once
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/track/block.hpp"
#include "lib/track/files.hpp"
#include "lib/track/journal.hpp"
#include "tenon/track.hpp"

namespace tenon::track {

struct Run::Impl {
  struct Progress {
    std::string text;         // ,"name":<name>,"step":
    std::int64_t values = 0;  // logged so far
    std::int64_t next = 0;    // step behind the last one
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
  };

  Impl(std::string its_id, std::string its_folder, std::string its_root, bool is_strict, FileLock its_lock)
      : id(std::move(its_id)),
        folder(std::move(its_folder)),
        root(std::move(its_root)),
        strict(is_strict),
        lock(std::move(its_lock)),
        journal(folder + "/log.jsonl", is_strict) {}

  /// Throws UsageError once the run has ended.
  void check_open() const;
  Progress& progress(std::string_view name);
  /// Starts a line in `line`, behind the block that is being gathered: {"t":<now>
  void begin();
  /// Writes `line`.
  void end();
  /// Writes the last line and the manifest, and gives the lock back. Only the first call does anything.
  void close(Status status, std::string_view reason);

  std::string id, folder, root;
  bool strict, open = true;
  std::optional<FileLock> lock;
  Journal journal;
  Block block;
  std::unordered_map<std::string, Progress, Hash, std::equal_to<>> metrics;
  std::string line;  // kept for its memory
  std::mutex mutex;
};

/// A run that nobody writes and that has no last line gets {"status":"crashed"}; a manifest that is missing is made.
/// Nothing happens while somebody writes it. Throws IoError.
void close_if_crashed(const std::string& folder);

}  // namespace tenon::track
