// PNG (ISO/IEC 15948): a header, one zlib stream of rows, each behind a byte that names its filter (0, none), an end.
#include "lib/track/png.hpp"

#include <zlib.h>

#include <string_view>

#include "tenon/error.hpp"

namespace tenon::track {
namespace {

void add_u32(std::string& to, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) to += static_cast<char>((value >> shift) & 0xFF);
}

/// Length, type, data, CRC of type and data.
void add_chunk(std::string& to, std::string_view type, std::string_view data) {
  add_u32(to, static_cast<std::uint32_t>(data.size()));
  const std::size_t begin = to.size();
  to += type;
  to += data;
  const auto* bytes = reinterpret_cast<const Bytef*>(to.data() + begin);
  add_u32(to, static_cast<std::uint32_t>(::crc32_z(0, bytes, to.size() - begin)));
}

}  // namespace

std::string png_of(std::span<const std::uint8_t> pixels, int height, int width, int channels) {
  const std::size_t row = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  std::string rows;
  rows.reserve((row + 1) * static_cast<std::size_t>(height));
  for (int y = 0; y < height; ++y) {
    rows += '\0';
    rows.append(reinterpret_cast<const char*>(pixels.data()) + static_cast<std::size_t>(y) * row, row);
  }
  uLongf size = ::compressBound(static_cast<uLong>(rows.size()));
  std::string packed(size, '\0');
  if (::compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
                  static_cast<uLong>(rows.size()), Z_DEFAULT_COMPRESSION) != Z_OK)
    throw Error(ExitCode::memory, "[track] not enough memory to pack an image");
  packed.resize(size);

  std::string header;
  add_u32(header, static_cast<std::uint32_t>(width));
  add_u32(header, static_cast<std::uint32_t>(height));
  header += '\x08';                         // bits a sample
  header += channels == 3 ? '\x02' : '\0';  // RGB or grey
  header += std::string(3, '\0');           // deflate, filters by row, not interlaced
  std::string file("\x89PNG\r\n\x1a\n", 8);
  add_chunk(file, "IHDR", header);
  add_chunk(file, "IDAT", packed);
  add_chunk(file, "IEND", {});
  return file;
}

}  // namespace tenon::track
