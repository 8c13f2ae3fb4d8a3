// Reading: header first, with every number checked against the file's length before it is used; then each tensor by
// pread into memory of its own, verified. No mapping: a file that shrinks meanwhile is an error, not a signal.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "lib/io/crc32c.hpp"
#include "lib/io/safetensors.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"

namespace tenon::safetensors {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and so are the arrays");

template <class... Args>
[[noreturn]] void corrupt(const std::string& name, fmt::format_string<Args...> text, Args&&... args) {
  throw CheckpointError(fmt::format("[safetensors] {}: {}", name, fmt::format(text, std::forward<Args>(args)...)));
}

bool is_check(const std::string& key) {
  return key == header_crc_key || key == digest_key || key.starts_with(crc_prefix);
}

}  // namespace

Reader::Reader(const std::string& path) : name_(shown(path)) {
  // O_NONBLOCK: a pipe without a writer must not hang before it is refused.
  fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!fd_ || ::fstat(fd_.get(), &info) != 0)
    throw IoError(fmt::format("[safetensors] cannot open {}: {}", name_, std::strerror(errno)));
  if (!S_ISREG(info.st_mode))
    throw IoError(fmt::format("[safetensors] cannot open {}: expected a regular file, found {}", name_,
                              S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe"));
  read_header(static_cast<std::uint64_t>(info.st_size));
}

Reader::Reader(std::span<const std::byte> bytes, const std::string& name) : name_(shown(name)), memory_(bytes) {
  read_header(bytes.size());
}

void Reader::read_exactly(void* to, std::size_t size, std::uint64_t offset) const {
  if (!fd_) {  // in bounds: every caller has compared with the length
    if (size > 0) std::memcpy(to, memory_.data() + offset, size);
    return;
  }
  int error = 0;
  const std::size_t got = pread_all(fd_.get(), to, size, offset, error);
  if (error != 0) throw IoError(fmt::format("[safetensors] cannot read {}: {}", name_, std::strerror(error)));
  if (got != size)
    corrupt(name_, "byte {}: expected {} more bytes, found the end of the file", offset + got, size - got);
}

void Reader::read_header(std::uint64_t file_bytes) {
  if (file_bytes < 8) corrupt(name_, "byte 0: expected 8 bytes of header length, found a file of {}", file_bytes);
  std::uint64_t length = 0;
  read_exactly(&length, sizeof length, 0);
  if (length < 2 || length > max_header_bytes)
    corrupt(name_, "byte 0: expected a header of 2 to {} bytes, found {}", max_header_bytes, length);
  if (length > file_bytes - 8)
    corrupt(name_, "byte 0: expected a header of at most {} bytes in this file, found {}", file_bytes - 8, length);
  std::string bytes(8 + static_cast<std::size_t>(length), '\0');
  read_exactly(bytes.data(), bytes.size(), 0);
  if (std::memcmp(bytes.data(), &length, sizeof length) != 0)
    corrupt(name_, "byte 0: the file changes while it is read");
  payload_ = bytes.size();

  header_ = parse_header(std::string_view(bytes).substr(8), name_);
  std::stable_sort(header_.tensors.begin(), header_.tensors.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_tiling(file_bytes - payload_);
  take_checks(bytes);
}

void Reader::check_tiling(std::uint64_t payload_bytes) const {
  std::uint64_t offset = 0;
  for (const Entry& e : header_.tensors) {
    if (e.begin != offset)
      corrupt(name_, "tensor '{}': expected data at offset {}, found {} ({})", e.name, offset, e.begin,
              e.begin < offset ? "an overlap" : "a hole");
    offset = e.end;
  }
  if (offset != payload_bytes)
    corrupt(name_, "byte {}: expected the file to end after {} bytes of tensors, found {}",
            payload_ + std::min(offset, payload_bytes), offset, payload_bytes);
}

void Reader::take_checks(std::string_view bytes) {
  auto& all = header_.metadata;
  const auto format = all.find(format_key);
  const bool ours = (format != all.end() && format->second == format_value) ||
                    std::any_of(all.begin(), all.end(), [](const auto& entry) { return is_check(entry.first); });
  if (!ours) return;

  const auto take = [&](const std::string& key) {
    const auto found = all.find(key);
    if (found == all.end()) corrupt(name_, "__metadata__: expected the entry '{}', found none", key);
    checks_.insert(all.extract(found));
    return checks_.at(key);
  };
  const std::string expected = header_crc(bytes);
  if (const std::string found = take(header_crc_key); found != expected)
    corrupt(name_, "bytes 0 to {}: expected a header with CRC {}, found one with {}", bytes.size() - 1, shown(found),
            expected);
  if (const std::string found = take(format_key); found != format_value)
    corrupt(name_, "__metadata__: expected format {}, found '{}'", format_value, shown(found));
  if (const std::string found = take(version_key); found != version_value)
    corrupt(name_, "__metadata__: expected version {} of the file's layout, found '{}'", version_value, shown(found));
  take(digest_key);
  for (const Entry& e : header_.tensors) take(crc_prefix + e.name);
  for (const auto& [key, value] : all)
    if (is_check(key)) corrupt(name_, "__metadata__: '{}' belongs to no tensor", shown(key));
}

TensorFile Reader::read() const {
  TensorFile file;
  file.metadata = header_.metadata;
  Sha256 digest;
  for (const Entry& e : header_.tensors) {
    Array array(e.spec);
    const std::size_t size = e.spec.bytes();
    read_exactly(array.bytes(), size, payload_ + e.begin);
    if (!checks_.empty()) {
      const std::string found = fmt::format("{:08x}", crc32c({array.bytes(), size}));
      if (const std::string& expected = checks_.at(crc_prefix + e.name); found != expected)
        corrupt(name_, "tensor '{}', bytes {} to {}: expected CRC {}, found {}", e.name, payload_ + e.begin,
                payload_ + e.end, shown(expected), found);
      digest.update(array.bytes(), size);
    }
    file.tensors.emplace_back(e.name, std::move(array));
  }
  if (!checks_.empty())
    if (const std::string found = digest.hex(); found != checks_.at(digest_key))
      corrupt(name_, "payload: expected SHA-256 {}, found {}", shown(checks_.at(digest_key)), found);
  return file;
}

}  // namespace tenon::safetensors

namespace tenon {

TensorFile read_safetensors(const std::string& path) { return safetensors::Reader(path).read(); }

}  // namespace tenon
