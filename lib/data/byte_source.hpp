// The content of a file or of bytes in memory, inflated when they begin with gzip's magic 1f 8b. Delivers exactly what
// is asked for, at bounded memory, and throws DataError on anything that is not a clean, complete stream.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace tenon {

class ByteSource {
 public:
  /// Opens a regular file. A missing file, a folder, a pipe or a device is a DataError; never blocks.
  explicit ByteSource(const std::string& path);
  /// Bytes that outlive the source; `name` stands for the file in messages.
  ByteSource(std::span<const std::byte> bytes, const std::string& name);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] bool gzip() const noexcept;
  /// Bytes as stored, before inflating.
  [[nodiscard]] std::uint64_t stored_bytes() const noexcept;
  /// The length that gzip's trailer states, modulo 2^32. Only for a gzip source.
  [[nodiscard]] std::uint32_t stated_length() const;
  /// Content delivered so far.
  [[nodiscard]] std::uint64_t offset() const noexcept;

  /// Delivers `size` bytes, fewer only where the content ends cleanly.
  std::size_t read(void* to, std::size_t size);
  /// Throws unless the content ended here: length and checksum right, nothing after it.
  void expect_end();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// `text` for a message: quotes kept out, control characters shown as '?', so that it stays on its line.
[[nodiscard]] std::string printable(const std::string& text);

}  // namespace tenon
