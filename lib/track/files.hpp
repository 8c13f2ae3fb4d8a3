// What tracking asks of the file system: locks, whole files, folders. Links are never followed inside a run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/io/file.hpp"

namespace tenon::track {

/// flock(2) on a file; given back when the object or the process ends, however it ends.
class FileLock {
 public:
  /// Opens or makes the file and waits for the lock. Throws IoError.
  static FileLock wait(const std::string& path);
  /// Nothing where somebody else has it, or where there is no such file. Never makes the file.
  static std::optional<FileLock> attempt(const std::string& path);
  /// Whether somebody else has it.
  static bool is_held(const std::string& path);

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// Throws IoError naming `path` and the reason that errno has.
[[noreturn]] void fail_io(const char* what, const std::string& path, int error);

/// Makes the folder and those above it.
void make_folders(const std::string& path);
/// The whole file. Throws IoError, also for one over `most` bytes.
[[nodiscard]] std::string read_text(const std::string& path, std::uint64_t most = std::uint64_t{1} << 26);
/// Writes a file beside `path`, then gives it that name: readers see the old file or the new one. `sync`: survives a
/// power cut from then on.
void put_file(const std::string& path, std::span<const std::byte> bytes, bool sync = false);
void put_file(const std::string& path, const std::string& text, bool sync = false);

struct Copied {
  std::uint64_t bytes = 0;
  std::string sha256;  // of what was read
};
/// Copies a regular file as put_file writes one; an empty `to` only reads. Where `expected` is given and the digest is
/// another one, nothing gets the name and IoError says so.
Copied copy_file(const std::string& from, const std::string& to, const std::string& expected = {}, bool sync = false);

/// Names in a folder, sorted; those that start with '.' are left out. None where there is no such folder.
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder);
[[nodiscard]] bool is_folder(const std::string& path);
[[nodiscard]] bool is_file(const std::string& path);
/// Regular files below `folder`, relative to it, sorted. Links are passed over.
[[nodiscard]] std::vector<std::string> files_below(const std::string& folder);
[[nodiscard]] std::string parent_of(const std::string& path);
[[nodiscard]] std::string base_of(const std::string& path);

}  // namespace tenon::track
