// Blocks of text to a file; failures become one warning.
#include "lib/train/hooks/log_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "tenon/log.hpp"

namespace tenon::detail {

void LogFile::write(std::string_view block) {
  if (block.empty()) return;
  if (!fd_) {
    fd_ = UniqueFd(
        ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | (append_ ? 0 : O_TRUNC), 0666));
    if (!fd_) return warn(errno);
  }
  std::string healed;
  if (torn_) {
    healed = "\n";
    healed += block;
    block = healed;
  }
  std::size_t written = 0;
  const int error = write_all(fd_.get(), std::as_bytes(std::span(block)), &written);
  if (written > 0) torn_ = block[written - 1] != '\n';
  if (error != 0) warn(error);
}

void LogFile::warn(int error) {
  if (!warned_)
    log(LogLevel::warning,
        fmt::format("[log] cannot write {}: {}; training goes on without it", shown(path_), std::strerror(error)));
  warned_ = true;
}

}  // namespace tenon::detail
