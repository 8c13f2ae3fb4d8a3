// Loops around write(2) and pread(2): a signal or a short count is no error.
#include "lib/io/file.hpp"

#include <algorithm>
#include <cerrno>

namespace tenon {
namespace {
constexpr std::size_t largest_call = std::size_t{1} << 30;  // Linux itself stops a call short of 2 GiB
}

int write_all(int fd, std::span<const std::byte> bytes, std::size_t* written) noexcept {
  std::size_t done = 0;
  int error = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, std::min(bytes.size() - done, largest_call));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      error = n == 0 ? EIO : errno;
      break;
    }
  }
  if (written != nullptr) *written = done;
  return error;
}

std::size_t pread_all(int fd, void* to, std::size_t size, std::uint64_t offset, int& error) noexcept {
  std::size_t done = 0;
  error = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd, static_cast<std::byte*>(to) + done, std::min(size - done, largest_call),
                              static_cast<off_t>(offset + done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0) {
      break;
    } else if (errno != EINTR) {
      error = errno;
      break;
    }
  }
  return done;
}

std::string shown(const std::string& text) {
  constexpr std::size_t most = 300;
  std::string out = text.size() > most ? text.substr(0, most) + "..." : text;
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

}  // namespace tenon
