// Temporary file in the same folder -> fsync -> rename -> fsync of the folder. The old file gets a second name before
// the rename and becomes `.prev` only after it, so a complete file is at `path` at every instant. Where the file system
// has no hard links it is renamed to `.prev` first: then a complete file is at `path` or at `.prev`.
#include "lib/io/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "lib/io/file.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  throw IoError(fmt::format("[save] cannot write {}: {}: {}", shown(path), what, std::strerror(error)));
}

/// An entry of the folder that goes away with this object unless it was given its final name.
class Temporary {
 public:
  Temporary(int folder, std::string name) : folder_(folder), name_(std::move(name)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (!name_.empty()) ::unlinkat(folder_, name_.c_str(), 0);
  }
  [[nodiscard]] int rename_to(const std::string& target) {
    if (::renameat(folder_, name_.c_str(), folder_, target.c_str()) != 0) return errno;
    name_.clear();
    return 0;
  }

 private:
  int folder_;
  std::string name_;
};

std::string temporary_name(const std::string& name) {
  static std::atomic<unsigned> counter{0};
  return fmt::format(".{}.{}-{}.tmp", name, ::getpid(), counter.fetch_add(1));
}

/// Something other than a regular file under a name that is to be replaced. Returns whether a file is there.
bool check_target(int folder, const std::string& name, const std::string& path) {
  struct stat info {};
  if (::fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    fail(path, "stat", errno);
  }
  if (!S_ISREG(info.st_mode)) {
    const char* found = S_ISDIR(info.st_mode)   ? "a folder"
                        : S_ISLNK(info.st_mode) ? "a symbolic link"
                                                : "a device or pipe";
    throw IoError(fmt::format("[save] cannot write {}: expected a regular file or none, found {}", shown(path), found));
  }
  return true;
}

UniqueFd open_temporary(int folder, std::string& name, const std::string& path) {
  const std::string base = name;
  for (int attempt = 0; attempt < 100; ++attempt) {
    name = temporary_name(base);
    const int fd = ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EEXIST && errno != EINTR) fail(path, "create", errno);
  }
  fail(path, "create", EEXIST);
}

void fill(UniqueFd& fd, std::span<const std::span<const std::byte>> pieces, const std::string& path) {
  std::size_t total = 0;
  for (const auto piece : pieces) total += piece.size();
  // A full disk is found before the first byte. Not every file system can reserve; then the writes find it.
  if (total > 0 && ::fallocate(fd.get(), 0, 0, static_cast<off_t>(total)) != 0 &&
      (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
    fail(path, "reserve space", errno);
  for (const auto piece : pieces)
    if (const int error = write_all(fd.get(), piece)) fail(path, "write", error);
  // After a failed fsync the kernel may have dropped the pages: the file is given up, not synced again.
  if (::fsync(fd.get()) != 0) fail(path, "fsync", errno);
  if (::close(fd.release()) != 0 && errno != EINTR) fail(path, "close", errno);
}

bool no_hard_links(int error) {
  return error == EPERM || error == ENOTSUP || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK ||
         error == EXDEV;
}

}  // namespace

void replace_file(const std::string& path, std::span<const std::span<const std::byte>> pieces) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || path.find('\0') != std::string::npos)
    throw IoError(fmt::format("[save] cannot write '{}': expected the name of a file", shown(path)));

  const UniqueFd folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) fail(path, "open its folder", errno);
  const bool exists = check_target(folder.get(), name, path);
  const std::string previous = previous_of(name);
  check_target(folder.get(), previous, path + ".prev");

  std::string temporary = name;
  UniqueFd fd = open_temporary(folder.get(), temporary, path);
  Temporary fresh(folder.get(), temporary);
  fill(fd, pieces, path);

  if (!exists) {
    if (const int error = fresh.rename_to(name)) fail(path, "rename", error);
  } else {
    const std::string second_name = temporary_name(name);
    if (::linkat(folder.get(), name.c_str(), folder.get(), second_name.c_str(), 0) == 0) {
      Temporary old(folder.get(), second_name);
      if (const int error = fresh.rename_to(name)) fail(path, "rename", error);
      if (const int error = old.rename_to(previous)) fail(path + ".prev", "rename", error);
      // When `.prev` already was this very file, rename(2) leaves both names.
      ::unlinkat(folder.get(), second_name.c_str(), 0);
    } else if (no_hard_links(errno)) {
      if (::renameat(folder.get(), name.c_str(), folder.get(), previous.c_str()) != 0)
        fail(path + ".prev", "rename", errno);
      if (const int error = fresh.rename_to(name)) {
        ::renameat(folder.get(), previous.c_str(), folder.get(), name.c_str());
        fail(path, "rename", error);
      }
    } else {
      fail(path, "link", errno);
    }
  }
  // Some file systems cannot sync a folder and say EINVAL.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) fail(path, "fsync of its folder", errno);
}

}  // namespace tenon
