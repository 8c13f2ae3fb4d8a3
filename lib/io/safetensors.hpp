// The safetensors layout: u64 length of the header, the header (JSON, padded with spaces), the tensors one after the
// other. What is common to reading and writing it, and a reader that looks at the header before anything is allocated.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/file.hpp"
#include "tenon/io.hpp"

namespace tenon::safetensors {

// Limits far above any model of ours and far below what could hurt.
constexpr std::uint64_t max_header_bytes = std::uint64_t{1} << 20;
constexpr std::size_t max_tensors = 4096, max_name_bytes = 255;
constexpr std::uint64_t max_integer = (std::uint64_t{1} << 53) - 1;  // what every JSON reader keeps exactly

// Our own entries of `__metadata__`. A file with one of them must have all of them, so that no damage can hide a check.
constexpr const char *format_key = "format", *format_value = "tenon", *version_key = "version", *version_value = "1";
constexpr const char *header_crc_key = "header_crc", *digest_key = "sha256", *crc_prefix = "crc32c:";
constexpr std::string_view header_crc_start = "\"header_crc\":\"", zero_digits = "00000000";

struct Entry {
  std::string name;
  TensorSpec spec;
  std::uint64_t begin = 0, end = 0;  // in the payload
};

struct Header {
  std::vector<Entry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

/// `F32` and so on.
[[nodiscard]] const char* type_name(DType) noexcept;
/// At most 255 bytes of [A-Za-z0-9._/-].
[[nodiscard]] bool valid_name(std::string_view) noexcept;
/// Bytes of a tensor, or false where a product of extents exceeds 2^53. Zeros do not hide the others.
[[nodiscard]] bool checked_bytes(std::span<const std::uint64_t> extents, DType, std::uint64_t& bytes) noexcept;
/// CRC of length and header with the digits of the CRC itself set to zero; empty when the header has no such digits.
[[nodiscard]] std::string header_crc(std::string_view length_and_header);

/// Parses the JSON; its first byte is byte 8 of the file `name`. Throws CheckpointError. Offsets are not compared yet.
[[nodiscard]] Header parse_header(std::string_view json, const std::string& name);

/// A file whose header is consistent with itself and with the file's length.
class Reader {
 public:
  explicit Reader(const std::string& path);
  /// Bytes that outlive the reader; `name` stands for the file in messages.
  Reader(std::span<const std::byte> bytes, const std::string& name);
  [[nodiscard]] const std::vector<Entry>& tensors() const noexcept { return header_.tensors; }
  /// Without our own entries.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return header_.metadata; }
  /// Reads the payload and verifies every checksum there is.
  [[nodiscard]] TensorFile read() const;

 private:
  void read_header(std::uint64_t file_bytes);
  void read_exactly(void* to, std::size_t size, std::uint64_t offset) const;
  void check_tiling(std::uint64_t payload_bytes) const;
  void take_checks(std::string_view length_and_header);

  std::string name_;  // for messages
  UniqueFd fd_;
  std::span<const std::byte> memory_;  // without a descriptor
  Header header_;
  std::uint64_t payload_ = 0;                  // where it begins in the file
  std::map<std::string, std::string> checks_;  // our own entries, empty in files of other writers
};

}  // namespace tenon::safetensors
