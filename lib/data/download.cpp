// Mirrors are data, and none of them is trusted: the hash of the content decides. A part from one mirror is resumed
// from another, since they serve the same bytes; if the whole does not verify, it is fetched once more from byte 0.
#include "lib/data/download.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lib/data/byte_source.hpp"
#include "lib/data/http_get.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

constexpr int attempts_per_mirror = 4;
constexpr std::uint64_t gzip_overhead = 1 << 16;  // stored bytes allowed beyond the content's length

[[noreturn]] void io_error(const std::string& what, const std::string& path) {
  const int error = errno;
  throw IoError(fmt::format("[download] cannot {} {}: {}", what, printable(path), std::strerror(error)));
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) io_error("write", path);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

struct Part {
  const RemoteFile& file;
  const std::string path;
  Fd fd;
  std::uint64_t size = 0;

  Part(const RemoteFile& f, const std::string& target)
      : file(f),
        path(target + ".part"),
        fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644)) {
    struct stat info {};
    if (fd.get() < 0) io_error("create", path);
    if (fstat(fd.get(), &info) != 0) io_error("examine", path);
    if (!S_ISREG(info.st_mode)) throw IoError(fmt::format("[download] expected a regular file at {}", printable(path)));
    size = static_cast<std::uint64_t>(info.st_size);
    if (size > limit()) restart();
  }
  [[nodiscard]] std::uint64_t limit() const { return file.content_bytes + gzip_overhead; }
  void restart() {
    if (ftruncate(fd.get(), 0) != 0) io_error("truncate", path);
    size = 0;
  }
  bool append(std::span<const std::byte> bytes) {
    if (size + bytes.size() > limit()) return false;
    if (lseek(fd.get(), static_cast<off_t>(size), SEEK_SET) < 0) io_error("seek in", path);
    write_all(fd.get(), bytes, path);
    size += bytes.size();
    return true;
  }
};

std::string url_of(const std::string& mirror, const std::string& name) {
  return mirror + (mirror.ends_with('/') ? "" : "/") + name;
}

// True when the part holds the file's content; `reason` says why not.
bool fetch_from(const std::string& mirror, Part& part, const DownloadOptions& options, std::string& reason) {
  using Kind = HttpResult::Kind;
  for (int attempt = 0; attempt < attempts_per_mirror; ++attempt) {
    const std::uint64_t before = part.size;
    const HttpRequest request{url_of(mirror, part.file.name), before, options.connect_timeout_ms,
                              options.stall_seconds};
    const HttpResult got = http_get(request, [&part](std::span<const std::byte> bytes) { return part.append(bytes); });
    reason = got.reason;
    switch (got.kind) {
      case Kind::no_connection:
      case Kind::refused:
        return false;
      case Kind::no_range:
        // 416: nothing comes after what is here, so it is all of it, or all of something else.
        if (got.status == 416 && verify_content(part.path, part.file, reason)) return true;
        part.restart();
        continue;
      case Kind::stopped:
        reason = fmt::format("more than the {} bytes that are expected at most", part.limit());
        part.restart();
        if (before == 0) return false;
        continue;
      case Kind::broken:
        if (part.size == before) return false;
        continue;  // go on where it broke off
      case Kind::ok:
        break;
    }
    if (verify_content(part.path, part.file, reason)) return true;
    part.restart();
    if (before == 0) return false;  // a fresh, whole transfer of something else
  }
  return false;
}

// Data first, then the name, then the folder: after a power cut the name is either absent or leads to all of the bytes.
void publish(const Part& part, const std::string& target, int folder) {
  if (fsync(part.fd.get()) != 0) io_error("sync", part.path);
  if (rename(part.path.c_str(), target.c_str()) != 0) io_error("rename to", target);
  if (fsync(folder) != 0 && errno != EINVAL) io_error("sync the folder of", target);
}

void download_one(const RemoteFile& file, const std::string& target, int folder, const DownloadOptions& options) {
  const auto say = [&options](const std::string& line) {
    if (options.log) options.log(line);
  };
  std::string reason;
  if (std::filesystem::exists(std::filesystem::symlink_status(target))) {
    if (verify_content(target, file, reason)) return say(fmt::format("{} is there and verified", file.name));
    throw DataError(fmt::format("[download] {} is there, but {}; it is left as it is: move it away to download",
                                printable(target), reason));
  }
  Part part(file, target);
  std::string tried;
  for (const std::string& mirror : options.mirrors) {
    say(fmt::format("downloading {}{}", url_of(mirror, file.name),
                    part.size != 0 ? fmt::format(" from byte {}", part.size) : ""));
    if (fetch_from(mirror, part, options, reason)) {
      publish(part, target, folder);
      return say(fmt::format("{}: {} bytes, SHA-256 verified", file.name, part.size));
    }
    say(fmt::format("{}: {}", url_of(mirror, file.name), reason));
    tried += fmt::format("{}{}: {}", tried.empty() ? "" : "; ", mirror, reason);
  }
  if (part.size == 0) unlink(part.path.c_str());
  throw IoError(
      fmt::format("[download] no mirror gave {} ({})", file.name, tried.empty() ? "none is known" : printable(tried)));
}

}  // namespace

bool verify_content(const std::string& path, const RemoteFile& file, std::string& found) {
  try {
    ByteSource in(path);
    Sha256 hash;
    std::array<std::byte, 1 << 14> buffer;
    for (std::size_t got = buffer.size(); got == buffer.size() && in.offset() <= file.content_bytes;) {
      got = in.read(buffer.data(), buffer.size());
      hash.update(buffer.data(), got);
    }
    if (in.offset() != file.content_bytes) {
      found = fmt::format("expected {} bytes of content, found {}{}", file.content_bytes,
                          in.offset() > file.content_bytes ? "at least " : "", in.offset());
      return false;
    }
    in.expect_end();
    const std::string hex = hash.hex();
    if (hex != file.sha256) found = fmt::format("expected SHA-256 {}, found {}", file.sha256, hex);
    return hex == file.sha256;
  } catch (const DataError& error) {
    found = error.what();
    return false;
  }
}

void download_files(std::span<const RemoteFile> files, const std::string& folder, const DownloadOptions& options) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed)
    throw IoError(fmt::format("[download] cannot make the folder {}: {}", printable(folder), failed.message()));
  const Fd dir(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0) io_error("open the folder", folder);
  // Two programs that download at once take turns; the second finds the files there. Where a file system has no locks,
  // the hash still keeps a mixed file from being taken.
  while (flock(dir.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  for (const RemoteFile& file : files) download_one(file, folder + "/" + file.name, dir.get(), options);
}

}  // namespace tenon
