// Spelling out what a terminal would obey, and how wide the rest is.
#include "lib/cli/text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "lib/track/text.hpp"

namespace tenon::cli {
namespace {

struct Range {
  std::uint32_t first, last;
};

/// Besides C0, DEL and C1: marks of direction, separators of lines, characters without a width of their own that join
/// nothing, and tags.
constexpr std::array<Range, 11> unseen{{{0xAD, 0xAD},
                                        {0x61C, 0x61C},
                                        {0x180E, 0x180E},
                                        {0x200B, 0x200B},
                                        {0x200E, 0x200F},
                                        {0x2028, 0x202E},
                                        {0x2060, 0x206F},
                                        {0xFEFF, 0xFEFF},
                                        {0xFFF9, 0xFFFB},
                                        {0xE0000, 0xE0FFF},
                                        {0x10FF80, 0x10FFFF}}};  // the last: bytes that to_utf8 could not decode
constexpr std::array<Range, 10> wide{{{0x1100, 0x115F},
                                      {0x2E80, 0x303E},
                                      {0x3041, 0xA4CF},
                                      {0xAC00, 0xD7A3},
                                      {0xF900, 0xFAFF},
                                      {0xFE30, 0xFE6F},
                                      {0xFF00, 0xFF60},
                                      {0xFFE0, 0xFFE6},
                                      {0x1F300, 0x1F9FF},
                                      {0x20000, 0x3FFFD}}};
constexpr std::array<Range, 5> combining{
    {{0x300, 0x36F}, {0x200C, 0x200D}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}}};

template <std::size_t n>
bool among(const std::array<Range, n>& ranges, std::uint32_t code) {
  return std::ranges::any_of(ranges, [code](const Range& r) { return code >= r.first && code <= r.last; });
}

struct Character {
  std::size_t length;
  std::uint32_t code;
};

/// The character at `at` of valid UTF-8.
Character character(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(at);
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  std::uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(at + i) & 0x3F);
  return {length, code};
}

std::size_t width_of(std::uint32_t code) { return among(combining, code) ? 0 : among(wide, code) ? 2 : 1; }

constexpr std::int64_t year_10000 = 253'402'300'800'000;  // no file of ours tells of a later day

std::tm utc(std::int64_t ms) { return fmt::gmtime(static_cast<std::time_t>(ms / 1000)); }

}  // namespace

std::string visible(std::string_view bytes) {
  const std::string text = track::to_utf8(bytes);
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character(text, at);
    if (c.code == '\n')
      out += "\\n";
    else if (c.code == '\t')
      out += "\\t";
    else if (c.code < 0x20 || c.code == 0x7F)
      out += fmt::format("\\x{:02X}", c.code);
    else if (c.code >= 0x10FF80)
      out += fmt::format("\\x{:02X}", c.code & 0xFF);
    else if (c.code < 0xA0 ? c.code > 0x7F : among(unseen, c.code))
      out += fmt::format("\\u{:04X}", c.code);
    else
      out.append(text, at, c.length);
    at += c.length;
  }
  return out;
}

std::size_t cells(std::string_view text) {
  std::size_t sum = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character(text, at);
    sum += width_of(c.code);
    at += c.length;
  }
  return sum;
}

std::string clipped(std::string_view text, std::size_t most) {
  if (cells(text) <= most) return std::string(text);
  std::size_t sum = 0, at = 0;
  while (at < text.size()) {
    const Character c = character(text, at);
    if (sum + width_of(c.code) + 1 > most) break;
    sum += width_of(c.code);
    at += c.length;
  }
  return std::string(text.substr(0, at)) + (most > 0 ? "…" : "");
}

std::string moment(std::int64_t ms) {
  return ms <= 0 || ms >= year_10000 ? "" : fmt::format("{:%Y-%m-%d %H:%M:%S}", utc(ms));
}
std::string iso_moment(std::int64_t ms) {
  return ms <= 0 || ms >= year_10000 ? "" : fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", utc(ms), ms % 1000);
}

std::string size_text(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

}  // namespace tenon::cli
