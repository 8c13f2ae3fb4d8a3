// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): finds every error of up to three bits in a header of this
// size.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tenon {

/// Of `bytes` after data whose CRC was `before`.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;
[[nodiscard]] inline std::uint32_t crc32c(std::string_view text, std::uint32_t before = 0) noexcept {
  return crc32c(std::as_bytes(std::span(text)), before);
}

}  // namespace tenon
