// The IDX reader on good and bad bytes: header, extents, truncation, gzip streams, labels, kinds of files.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "kernels/common/philox.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/data_error.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::test;
namespace fs = std::filesystem;

namespace {

const IdxExpectation images = {}, labels = {.sample = {}, .max_value = 9};

Array parse(const std::string& bytes, const IdxExpectation& expect) {
  return parse_idx(bytes_of(bytes), "file", expect);
}

std::vector<std::uint8_t> values(const Array& a) {
  const auto v = a.values<std::uint8_t>();
  return {v.begin(), v.end()};
}

std::string parse_error(const std::string& bytes, const IdxExpectation& expect) {
  return data_error([&] { (void)parse(bytes, expect); });
}

}  // namespace

TEST_CASE("idx: plain and gzip give the same values", "[data][idx]") {
  const Array a = parse(idx_images(3), images), b = parse(gz(idx_images(3)), images);
  REQUIRE(a.spec().str() == "u8(3,28,28)");
  REQUIRE(a.at(800) == 7 * 800 % 251);
  REQUIRE(values(a) == values(b));
  REQUIRE(values(parse(gz(idx_labels(12)), labels)) == std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1});
}

TEST_CASE("idx: a wrong header says where, what was expected and what was found", "[data][idx]") {
  REQUIRE(has(parse_error(idx_labels(3), images), "expected magic 0x00000803 at byte 0, found 0x00000801"));
  REQUIRE(has(parse_error(idx_images(3), labels), "expected magic 0x00000801 at byte 0, found 0x00000803"));
  for (const std::uint32_t magic : {0u, 0x103u, 0x802u, 0x804u, 0x903u, 0x03080000u, 0xffffffffu})
    REQUIRE(has(parse_error(idx_header({magic, 1, 28, 28}) + std::string(784, 'x'), images), "expected magic"));
  REQUIRE(has(parse_error(idx_header({0x803, 1, 27, 28}) + std::string(756, 'x'), images),
              "expected extent 28 at byte 8, found 27"));
  REQUIRE(has(parse_error(idx_header({0x803, 0, 28, 28}), images), "count above 0"));
  REQUIRE(has(parse_error(idx_images(3), {.count = 4}), "expected count 4 at byte 4, found 3"));
  REQUIRE(has(parse_error("", images), "the magic number"));
}

TEST_CASE("idx: extents that overflow are refused before anything is allocated", "[data][idx]") {
  const std::uint32_t edges[] = {1,     2,        255,        256,        65535,      65536,
                                 65537, 1u << 30, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  for (const std::uint32_t n : edges)
    for (const std::uint32_t h : edges)
      for (const std::uint32_t w : edges) {
        if (std::uint64_t{n} * h * w == 1) continue;
        const std::string bytes = idx_header({0x803, n, h, w}) + "x";
        const IdxExpectation expect = {.sample = {h, w}};
        REQUIRE_THROWS_AS(parse(bytes, expect), DataError);
        if (n == h) REQUIRE_THROWS_AS(parse(gz(bytes), expect), DataError);
      }
  // 1 GiB that a 100-byte file states and whose gzip trailer agrees.
  std::string bomb = gz(idx_header({0x801, 1u << 30}) + "x");
  const std::uint32_t stated = (1u << 30) + 8;
  for (int i = 0; i < 4; ++i)
    bomb[bomb.size() - 4 + static_cast<std::size_t>(i)] = static_cast<char>(stated >> 8 * i & 255);
  REQUIRE(has(parse_error(bomb, labels), "data"));
}

TEST_CASE("idx: truncation at every byte, and any byte too many", "[data][idx]") {
  const TempFolder folder;
  const auto check = [&](const std::string& whole, const IdxExpectation& expect) {
    const std::string path = folder / "f";
    write_file(path, whole);
    REQUIRE_NOTHROW((void)read_idx(path, expect));
    for (std::size_t length = whole.size(); length-- > 0;) {
      REQUIRE(truncate(path.c_str(), static_cast<off_t>(length)) == 0);
      REQUIRE_THROWS_AS(read_idx(path, expect), DataError);
      REQUIRE_THROWS_AS(parse(whole.substr(0, length), expect), DataError);
    }
    for (const char* more : {"\0", "\x1f", "x", "\x1f\x8b"})
      REQUIRE_THROWS_AS(parse(whole + std::string(more, std::max<std::size_t>(1, std::strlen(more))), expect),
                        DataError);
  };
  check(idx_images(2), images);
  check(gz(idx_images(2)), images);
  check(idx_labels(20), labels);
  check(gz(idx_labels(20)), labels);
}

TEST_CASE("idx: gzip streams that are not clean", "[data][idx]") {
  const std::string content = idx_labels(50), good = gz(content);
  REQUIRE(has(parse_error(good.substr(0, good.size() - 1), labels), "truncated"));
  std::string crc = good, isize = good;
  crc[crc.size() - 8] ^= 1;
  isize[isize.size() - 4] ^= 1;
  REQUIRE(has(parse_error(crc, labels), "incorrect data check"));
  REQUIRE(has(parse_error(isize, labels), "incorrect length check"));
  REQUIRE(has(parse_error(good + "tail", labels),
              fmt::format("byte {} after the gzip stream, found trailing bytes", good.size())));
  REQUIRE(has(parse_error(good + good, labels), "a further gzip member"));
  REQUIRE(has(parse_error(gz(content + "x"), labels), "to end at byte 58"));
  REQUIRE(
      has(parse_error(gz(content.substr(0, 57)), labels), "expected 58 bytes of content as its header says, found 57"));
  REQUIRE_THROWS_AS(parse(gz(good), labels), DataError);
}

TEST_CASE("idx: a flipped bit in a gzip file never changes a value silently", "[data][idx]") {
  const std::string content = idx_header({0x801, 400}) + [] {
    std::string random;
    for (std::uint32_t i = 0; i < 400; ++i) random += static_cast<char>(philox::word({1, 2}, i, 0, 0, 0) % 10);
    return random;
  }();
  const std::string good = gz(content);
  const auto right = values(parse(good, labels));
  int accepted = 0, refused = 0;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    Array read;
    try {
      read = parse(bad, labels);
    } catch (const DataError&) {
      ++refused;
      continue;
    }
    REQUIRE(values(read) == right);
    ++accepted;
  }
  // Bits without a meaning: 4 bytes of time, one of extra flags, one of system, the text flag, padding after the data.
  REQUIRE(accepted <= 49 + 7);
  REQUIRE(refused > 1000);
}

TEST_CASE("idx: a label above 9 is named with its index", "[data][idx]") {
  for (const std::size_t place : {0u, 17u, 39u})
    for (int bad = 10; bad < 256; ++bad) {
      std::string bytes = idx_labels(40);
      bytes[8 + place] = static_cast<char>(bad);
      REQUIRE(has(parse_error(bytes, labels),
                  fmt::format("expected values 0..9, found {} at index {} (byte {})", bad, place, 8 + place)));
    }
}

TEST_CASE("idx: only regular files, and never a hang", "[data][idx]") {
  const TempFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  fs::create_symlink("loop", folder / "loop");
  fs::create_symlink("nowhere", folder / "dead");
  for (const std::string& path : {folder / "pipe", folder.str(), folder / "loop", folder / "dead", folder / "missing",
                                  folder / "pipe/x", std::string("/dev/zero"), std::string("/dev/null"),
                                  std::string(5000, 'x'), std::string("a\0b", 3), std::string()})
    data_error([&] { (void)read_idx(path, images); });
  write_file(folder / "line\nbreak", "");
  REQUIRE(has(data_error([&] { (void)read_idx(folder / "line\nbreak", images); }), "line?break"));
}
