// The inflate loop over zlib's streaming interface. zlib's gzread is no use here: it reports no truncation until close,
// passes through what is not gzip, and ignores bytes after the end.
#include "lib/data/byte_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "tenon/error.hpp"

namespace tenon {

std::string printable(const std::string& text) {
  std::string out = text;
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

struct ByteSource::State {
  std::string name;
  int fd = -1;
  std::span<const std::byte> memory;  // what is left of a source in memory
  std::uint64_t stored = 0, fetched = 0, delivered = 0;
  std::array<std::byte, 1 << 16> buffer;
  std::size_t begin = 0, end = 0;  // what `buffer` holds
  bool gzip = false, stream_ended = false;
  std::uint32_t stated = 0;
  z_stream z{};
  bool z_open = false;

  ~State() {
    if (z_open) inflateEnd(&z);
    if (fd >= 0) close(fd);
  }

  [[noreturn]] void io_error(const char* what, int error) const {
    throw IoError(fmt::format("[data] cannot {} {}: {}", what, name, std::strerror(error)));
  }

  void open_file(const std::string& path);
  std::size_t fetch(std::byte* to, std::size_t size);
  bool refill();
  void detect();
  std::size_t inflate_into(std::byte* to, std::size_t size);
  void end_of_stream();
};

// O_NONBLOCK: opening a pipe must not wait for a writer.
void ByteSource::State::open_file(const std::string& path) {
  if (path.find('\0') != std::string::npos)
    throw DataError(fmt::format("[data] expected a file name, found one with a NUL character: {}", name));
  fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG || error == ENXIO)
      throw DataError(fmt::format("[data] expected a file at {}, found: {}", name, std::strerror(error)));
    io_error("open", error);
  }
  struct stat info {};
  if (fstat(fd, &info) != 0) io_error("examine", errno);
  if (!S_ISREG(info.st_mode))
    throw DataError(fmt::format("[data] expected a regular file at {}, found a {}", name,
                                S_ISDIR(info.st_mode) ? "folder" : "pipe, socket or device"));
  stored = static_cast<std::uint64_t>(info.st_size);
  if (stored >= 4 && pread(fd, buffer.data(), 4, info.st_size - 4) == 4) std::memcpy(&stated, buffer.data(), 4);
}

// Up to `size` stored bytes; 0 only at the end.
std::size_t ByteSource::State::fetch(std::byte* to, std::size_t size) {
  std::size_t got = 0;
  if (fd < 0) {
    got = std::min(size, memory.size());
    if (got != 0) std::memcpy(to, memory.data(), got);
    memory = memory.subspan(got);
  } else {
    ssize_t n = 0;
    do n = ::read(fd, to, size);
    while (n < 0 && errno == EINTR);
    if (n < 0) io_error("read", errno);
    got = static_cast<std::size_t>(n);
  }
  fetched += got;
  return got;
}

bool ByteSource::State::refill() {
  if (begin == end) {
    begin = 0;
    end = fetch(buffer.data(), buffer.size());
  }
  return begin != end;
}

void ByteSource::State::detect() {
  while (end < 2) {
    const std::size_t got = fetch(buffer.data() + end, buffer.size() - end);
    if (got == 0) break;
    end += got;
  }
  gzip = end >= 2 && buffer[0] == std::byte{0x1f} && buffer[1] == std::byte{0x8b};
  if (!gzip) return;
  // 16: a gzip wrapper is required, and zlib checks its CRC and length at the end of the stream.
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  z_open = true;
}

// One gzip stream must fill the file: a second member or padding would be content that nobody reads.
void ByteSource::State::end_of_stream() {
  stream_ended = true;
  const std::uint64_t at = fetched - (end - begin);
  if (refill())
    throw DataError(fmt::format("[data] {}: expected the end of the file at byte {} after the gzip stream, found {}",
                                name, at,
                                buffer[begin] == std::byte{0x1f} ? "a further gzip member" : "trailing bytes"));
}

std::size_t ByteSource::State::inflate_into(std::byte* to, std::size_t size) {
  std::size_t done = 0;
  while (done < size && !stream_ended) {
    if (!refill())
      throw DataError(fmt::format(
          "[data] {}: expected more gzip data at byte {}, found the end of the file (truncated?)", name, fetched));
    z.next_in = reinterpret_cast<Bytef*>(buffer.data() + begin);
    z.avail_in = static_cast<uInt>(end - begin);
    const auto room = static_cast<uInt>(std::min<std::size_t>(size - done, 1 << 30));
    z.next_out = reinterpret_cast<Bytef*>(to + done);
    z.avail_out = room;
    const int code = inflate(&z, Z_NO_FLUSH);
    begin = end - z.avail_in;
    done += room - z.avail_out;
    if (code == Z_STREAM_END) {
      end_of_stream();
    } else if (code == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      throw DataError(fmt::format("[data] {}: expected valid gzip data near byte {}, found: {}", name,
                                  fetched - (end - begin), z.msg != nullptr ? z.msg : "a preset dictionary"));
    }
  }
  return done;
}

ByteSource::ByteSource(const std::string& path) : state_(std::make_unique<State>()) {
  state_->name = printable(path);
  state_->open_file(path);
  state_->detect();
}

ByteSource::ByteSource(std::span<const std::byte> bytes, const std::string& name) : state_(std::make_unique<State>()) {
  state_->name = printable(name);
  state_->memory = bytes;
  state_->stored = bytes.size();
  if (bytes.size() >= 4) std::memcpy(&state_->stated, bytes.data() + bytes.size() - 4, 4);
  state_->detect();
}

ByteSource::~ByteSource() = default;

const std::string& ByteSource::name() const noexcept { return state_->name; }
bool ByteSource::gzip() const noexcept { return state_->gzip; }
std::uint64_t ByteSource::stored_bytes() const noexcept { return state_->stored; }
std::uint64_t ByteSource::offset() const noexcept { return state_->delivered; }

std::uint32_t ByteSource::stated_length() const {
  std::uint8_t le[4];  // the trailer is little-endian, whatever the machine
  std::memcpy(le, &state_->stated, 4);
  return std::uint32_t{le[0]} | std::uint32_t{le[1]} << 8 | std::uint32_t{le[2]} << 16 | std::uint32_t{le[3]} << 24;
}

std::size_t ByteSource::read(void* to, std::size_t size) {
  auto* out = static_cast<std::byte*>(to);
  std::size_t done = 0;
  if (state_->gzip) {
    done = state_->inflate_into(out, size);
  } else {
    while (done < size && state_->refill()) {
      const std::size_t take = std::min(size - done, state_->end - state_->begin);
      std::memcpy(out + done, state_->buffer.data() + state_->begin, take);
      state_->begin += take;
      done += take;
    }
  }
  state_->delivered += done;
  return done;
}

void ByteSource::expect_end() {
  const std::uint64_t at = offset();
  std::byte extra;
  if (read(&extra, 1) != 0)
    throw DataError(fmt::format("[data] {}: expected the content to end at byte {}, found more bytes", name(), at));
}

}  // namespace tenon
