// Thin wrappers of the system's file calls: a descriptor that closes itself, and loops around short and interrupted
// calls.
#pragma once
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace tenon {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

/// Writes everything. Returns 0, or errno of the call that failed; `written` then says how much was taken.
[[nodiscard]] int write_all(int fd, std::span<const std::byte> bytes, std::size_t* written = nullptr) noexcept;
/// Reads `size` bytes at `offset` and returns how many there were: fewer only at the end of the file. Sets `error` to 0
/// or errno.
[[nodiscard]] std::size_t pread_all(int fd, void* to, std::size_t size, std::uint64_t offset, int& error) noexcept;

/// `text` for a message: control characters shown as '?', and cut where it is long, so that the message stays one line.
[[nodiscard]] std::string shown(const std::string& text);

}  // namespace tenon
