// IDX: big-endian magic 0x00000800 + rank (08 = unsigned bytes), then `rank` 32-bit extents, then the elements. The
// header is checked against what is expected and against the stored size before anything is allocated.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/data/byte_source.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

std::uint32_t read_u32(ByteSource& in, const std::string& what) {
  std::uint8_t b[4];
  const std::uint64_t at = in.offset();
  const std::size_t got = in.read(b, 4);
  if (got != 4)
    throw DataError(fmt::format("[idx] {}: expected {} (4 bytes) at byte {}, found {}", in.name(), what, at,
                                got == 0 ? "the end" : fmt::format("only {}", got)));
  return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | std::uint32_t{b[3]};
}

Shape read_header(ByteSource& in, const IdxExpectation& expect) {
  const int rank = 1 + expect.sample.rank();
  const std::uint32_t magic = read_u32(in, "the magic number");
  const std::uint32_t wanted = 0x800u + static_cast<std::uint32_t>(rank);
  if (magic != wanted)
    throw DataError(
        fmt::format("[idx] {}: expected magic 0x{:08x} at byte 0, found 0x{:08x}", in.name(), wanted, magic));
  Shape shape;
  for (int axis = 0; axis < rank; ++axis) {
    const std::uint64_t at = in.offset();
    const std::int64_t extent = read_u32(in, axis == 0 ? "the count" : "an extent");
    const std::optional<std::int64_t> fixed = axis == 0 ? expect.count : expect.sample[axis - 1];
    if (fixed ? extent != *fixed : extent == 0)
      throw DataError(fmt::format("[idx] {}: expected {} {} at byte {}, found {}", in.name(),
                                  axis == 0 ? "count" : "extent", fixed ? fmt::format("{}", *fixed) : "above 0", at,
                                  extent));
    shape.push_back(extent);
  }
  return shape;
}

// Bytes of the elements. The count alone can be 2^32 - 1, so the product is checked before it is believed.
std::uint64_t payload_bytes(const ByteSource& in, const Shape& shape, const IdxExpectation& expect) {
  std::uint64_t bytes = 1;
  bool overflow = false;
  for (const std::int64_t extent : shape.extents())
    overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes);
  if (overflow || bytes > static_cast<std::uint64_t>(expect.max_bytes))
    throw DataError(fmt::format("[idx] {}: expected at most {} bytes of data, the header at byte 4 states {}",
                                in.name(), expect.max_bytes, shape.str()));
  return bytes;
}

// Nothing is allocated for data that cannot be there: a plain file has a size, gzip states its length and cannot
// expand more than 1032 times. A stream that disagrees is inflated into a scratch buffer, to say what is wrong with it.
void check_stored_size(ByteSource& in, std::uint64_t payload) {
  const std::uint64_t header = in.offset();
  const std::uint64_t total = header + payload;
  if (!in.gzip()) {
    if (in.stored_bytes() != total)
      throw DataError(fmt::format("[idx] {}: expected {} bytes ({} of header, {} of data), found {}", in.name(), total,
                                  header, payload, in.stored_bytes()));
    return;
  }
  if (in.stated_length() == static_cast<std::uint32_t>(total) && total / 1032 <= in.stored_bytes()) return;
  std::array<std::byte, 1 << 14> scratch;
  std::uint64_t left = payload;
  while (left > 0) {
    const std::size_t got =
        in.read(scratch.data(), static_cast<std::size_t>(std::min<std::uint64_t>(left, scratch.size())));
    if (got == 0) break;
    left -= got;
  }
  if (left == 0) in.expect_end();
  throw DataError(fmt::format("[idx] {}: expected {} bytes of content as its header says, found {}", in.name(), total,
                              in.offset()));
}

void check_values(const ByteSource& in, const Array& data, const IdxExpectation& expect) {
  if (!expect.max_value) return;
  const auto values = data.values<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] > *expect.max_value)
      throw DataError(fmt::format("[idx] {}: expected values 0..{}, found {} at index {} (byte {})", in.name(),
                                  *expect.max_value, values[i], i,
                                  4 + 4 * data.shape().rank() + static_cast<std::int64_t>(i)));
}

Array read_array(ByteSource& in, const IdxExpectation& expect) {
  const Shape shape = read_header(in, expect);
  const std::uint64_t payload = payload_bytes(in, shape, expect);
  check_stored_size(in, payload);
  Array data(DType::u8, shape);
  const std::size_t got = in.read(data.bytes(), static_cast<std::size_t>(payload));
  if (got != payload)  // a file that shrinks while it is read, or a wrong length that agrees with gzip's trailer
    throw DataError(fmt::format("[idx] {}: expected {} bytes of data, found {}", in.name(), payload, got));
  in.expect_end();
  check_values(in, data, expect);
  return data;
}

}  // namespace

Array read_idx(const std::string& path, const IdxExpectation& expect) {
  ByteSource in(path);
  return read_array(in, expect);
}

Array parse_idx(std::span<const std::byte> bytes, const std::string& name, const IdxExpectation& expect) {
  ByteSource in(bytes, name);
  return read_array(in, expect);
}

}  // namespace tenon
