// SHA-256 (FIPS 180-4), streaming: 64-byte blocks, 64 rounds, big-endian words. Pins downloaded files, and identifies
// what a run has written.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tenon {

class Sha256 {
 public:
  Sha256() { reset(); }
  void reset();
  void update(std::span<const std::byte> bytes);
  void update(const void* data, std::size_t size) { update({static_cast<const std::byte*>(data), size}); }
  /// Ends the message; `reset()` starts the next one.
  [[nodiscard]] std::array<std::uint8_t, 32> digest();
  /// The digest as 64 lower-case hex digits.
  [[nodiscard]] std::string hex();

 private:
  void compress(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_{};
  std::array<std::uint8_t, 64> block_{};
  std::uint64_t length_ = 0;  // bytes so far
};

[[nodiscard]] std::string sha256_hex(std::span<const std::byte> bytes);
[[nodiscard]] std::string sha256_hex(const std::string& text);

}  // namespace tenon
