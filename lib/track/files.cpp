// Locks, whole files and folders, over the system's calls.
#include "lib/track/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "lib/io/sha256.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"

namespace tenon::track {
namespace {

/// A file that goes away with this object unless it was given its final name.
class Fresh {
 public:
  explicit Fresh(const std::string& target) : target_(target) {
    do {
      path_ = fmt::format("{}/.{}.tmp", parent_of(target), random_hex(8));
      fd_ = UniqueFd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    } while (!fd_ && errno == EEXIST);
    if (!fd_) fail_io("create", target, errno);
  }
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;
  ~Fresh() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void write(std::span<const std::byte> bytes) {
    if (const int error = write_all(fd_.get(), bytes)) fail_io("write", target_, error);
  }
  void finish(bool sync) {
    if (sync && ::fsync(fd_.get()) != 0) fail_io("sync", target_, errno);
    if (::rename(path_.c_str(), target_.c_str()) != 0) fail_io("rename", target_, errno);
    path_.clear();
    if (!sync) return;
    const UniqueFd folder(::open(parent_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder) (void)::fsync(folder.get());
  }

 private:
  std::string target_, path_;
  UniqueFd fd_;
};

/// A descriptor of a regular file; a pipe or a device would block or never end.
UniqueFd open_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) fail_io("open", path, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail_io("stat", path, errno);
  if (!S_ISREG(info.st_mode)) throw IoError(fmt::format("[track] expected a regular file: {}", shown(path)));
  return fd;
}

struct stat status_of(const std::string& path) {
  struct stat info {};
  if (path.find('\0') != std::string::npos || ::lstat(path.c_str(), &info) != 0) info.st_mode = 0;
  return info;
}

void add_files(const std::string& folder, const std::string& prefix, std::vector<std::string>& files) {
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name;
    if (is_file(path))
      files.push_back(prefix + name);
    else if (is_folder(path))
      add_files(path, prefix + name + "/", files);
  }
}

}  // namespace

void fail_io(const char* what, const std::string& path, int error) {
  throw IoError(fmt::format("[track] cannot {} {}: {}", what, shown(path), std::strerror(error)));
}

FileLock FileLock::wait(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd) fail_io("open", path, errno);
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) fail_io("lock", path, errno);
  return FileLock(std::move(fd));
}

std::optional<FileLock> FileLock::attempt(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return FileLock(std::move(fd));
}

bool FileLock::is_held(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

void make_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error && !std::filesystem::is_directory(path)) fail_io("make the folder", path, error.value());
}

std::string read_text(const std::string& path, std::uint64_t most) {
  const UniqueFd fd = open_file(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail_io("stat", path, errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > most)
    throw IoError(fmt::format("[track] expected at most {} bytes, found {}: {}", most, size, shown(path)));
  std::string text(static_cast<std::size_t>(size), '\0');
  int error = 0;
  text.resize(pread_all(fd.get(), text.data(), text.size(), 0, error));
  if (error != 0) fail_io("read", path, error);
  return text;
}

void put_file(const std::string& path, std::span<const std::byte> bytes, bool sync) {
  Fresh fresh(path);
  fresh.write(bytes);
  fresh.finish(sync);
}
void put_file(const std::string& path, const std::string& text, bool sync) {
  put_file(path, std::as_bytes(std::span(text)), sync);
}

Copied copy_file(const std::string& from, const std::string& to, const std::string& expected, bool sync) {
  const UniqueFd in = open_file(from);
  std::optional<Fresh> out;
  if (!to.empty()) out.emplace(to);
  std::vector<std::byte> piece(std::size_t{1} << 20);
  Sha256 digest;
  Copied copied;
  for (;;) {
    int error = 0;
    const std::size_t n = pread_all(in.get(), piece.data(), piece.size(), copied.bytes, error);
    if (error != 0) fail_io("read", from, error);
    if (n == 0) break;
    digest.update(piece.data(), n);
    if (out) out->write(std::span(piece).first(n));
    copied.bytes += n;
  }
  copied.sha256 = digest.hex();
  if (!expected.empty() && copied.sha256 != expected)
    throw IoError(fmt::format("[track] expected SHA-256 {}, found {}: {}", expected, copied.sha256, shown(from)));
  if (out) out->finish(sync);
  return copied;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* entries = ::opendir(folder.c_str());
  if (entries == nullptr) return names;
  while (const dirent* entry = ::readdir(entries))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(entries);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_folder(const std::string& path) { return S_ISDIR(status_of(path).st_mode); }
bool is_file(const std::string& path) { return S_ISREG(status_of(path).st_mode); }

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  add_files(folder, "", files);
  std::sort(files.begin(), files.end());
  return files;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}
std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace tenon::track
