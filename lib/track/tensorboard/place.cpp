// Names and lock of a run's event files.
#include "lib/track/tensorboard/place.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "lib/track/text.hpp"
#include "tenon/error.hpp"

namespace tenon::track::tensorboard {
namespace {

constexpr std::string_view prefix = "events.out.tfevents.";

std::string host() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
  std::string safe = name;
  for (char& c : safe)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-') c = '_';
  return safe.empty() ? "localhost" : safe;
}

/// Number after the prefix.
std::int64_t seconds_of(std::string_view name) {
  std::int64_t seconds = 0;
  std::from_chars(name.data() + prefix.size(), name.data() + name.size(), seconds);
  return seconds;
}

FileLock lock_of(const std::string& folder) {
  const std::string path = folder + "/.lock";
  // Made first: a lock is only ever asked of a file that is there, and it stays.
  if (const UniqueFd made(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)); !made)
    fail_io("open", path, errno);
  std::optional<FileLock> lock = FileLock::attempt(path);
  if (!lock) throw UsageError(fmt::format("[tensorboard] another writer holds {}", shown(folder)));
  return std::move(*lock);
}

}  // namespace

Place Place::take(const std::string& run_folder) {
  const std::string folder = run_folder + "/tensorboard";
  make_folders(folder);
  // Files are removed here: not from somewhere else.
  if (std::error_code ignored; std::filesystem::is_symlink(folder, ignored))
    throw IoError(fmt::format("[tensorboard] expected a folder, found a link: {}", shown(folder)));
  Place place{folder, {}, {}, lock_of(folder)};
  std::int64_t seconds = now_ms() / 1000;
  for (std::string& name : names_in(folder)) {
    if (!name.starts_with(prefix)) continue;
    // TensorBoard goes through the files by name and does not come back to one before.
    seconds = std::max(seconds, seconds_of(name) + 1);
    place.earlier.push_back(std::move(name));
  }
  static std::atomic<int> count = 0;
  place.next = fmt::format("{}{:010}.{}.{}.{}", prefix, seconds, host(), ::getpid(), count++);
  return place;
}

}  // namespace tenon::track::tensorboard
