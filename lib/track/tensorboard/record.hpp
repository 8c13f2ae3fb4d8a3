// The framing of an event file: every record has its length and two checksums around it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace tenon::track::tensorboard {

/// CRC-32C as the format stores it: rotated and shifted by a constant, so that records may lie in records.
[[nodiscard]] std::uint32_t masked_crc(std::string_view bytes) noexcept;

/// Appends: length (64 bits), its masked checksum, `data`, the masked checksum of `data`; all little-endian.
void add_record(std::string& to, std::string_view data);

}  // namespace tenon::track::tensorboard
