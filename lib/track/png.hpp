// PNG files of 8-bit grey or RGB pixels.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace tenon::track {

/// The bytes of a PNG file. `pixels` [height, width, channels], channels 1 or 3; the caller has checked the sizes.
[[nodiscard]] std::string png_of(std::span<const std::uint8_t> pixels, int height, int width, int channels);

}  // namespace tenon::track
