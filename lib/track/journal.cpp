// Appends whole lines. What a failed write has left over comes before the next line, so no line is ever mixed up.
#include "lib/track/journal.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/track/files.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon::track {

Journal::Journal(std::string path, bool strict)
    : path_(std::move(path)),
      fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666)),
      strict_(strict) {
  if (!fd_) fail_io("open", path_, errno);
  const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
  char last = '\n';
  int error = 0;
  if (end > 0 && pread_all(fd_.get(), &last, 1, static_cast<std::uint64_t>(end - 1), error) == 1 && last != '\n')
    pending_ = "\n";
}

void Journal::write(std::string_view lines) {
  if (pending_.size() + lines.size() > most_pending && !pending_.empty() && !put({})) {
    lost_ += lines.size();  // the older lines are kept, a broken one among them
    return;
  }
  put(lines);
}

bool Journal::put(std::string_view lines) {
  std::string joined;
  if (!pending_.empty()) {
    joined = std::move(pending_) + std::string(lines);
    lines = joined;
  }
  std::size_t written = 0;
  const int error = write_all(fd_.get(), std::as_bytes(std::span(lines)), &written);
  pending_.clear();
  if (error == 0) {
    if (lost_ > 0) pending_ = fmt::format("{{\"lost\":{}}}\n", std::exchange(lost_, 0));
    return true;
  }
  std::string_view rest = lines.substr(written);
  if (rest.size() > most_pending) {
    // A single block over the bound. The line that was begun is ended, the rest of it is lost.
    lost_ += rest.size();
    rest = written > 0 && lines[written - 1] != '\n' ? "\n" : "";
  }
  pending_ = std::string(rest);
  failed(error, "write");
  return false;
}

void Journal::sync() {
  if (!pending_.empty()) put({});
  if (::fsync(fd_.get()) != 0 && errno != EINVAL) failed(errno, "sync");
}

void Journal::failed(int error, const char* what) {
  if (strict_) fail_io(what, path_, error);
  if (!warned_)
    tenon::detail::log(LogLevel::warning, fmt::format("[track] cannot {} {}: {}; the program goes on", what,
                                                      shown(path_), std::strerror(error)));
  warned_ = true;
}

}  // namespace tenon::track
