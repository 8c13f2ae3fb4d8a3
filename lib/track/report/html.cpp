// Escaping by code points: markup, controls and the marks of bidirectional text.
#include "lib/track/report/html.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace tenon::track::html {
namespace {

struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;  // 0: these bytes are no UTF-8
};
CodePoint decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t size = first >= 0xF0 && first < 0xF8 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (size == 0 || first >= 0xF8 || text.size() < size) return {0, 0};
  std::uint32_t value = first & (0x7Fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {0, 0};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  return value < least[size] || value > 0x10FFFF || surrogate ? CodePoint{0, 0} : CodePoint{value, size};
}

bool turns_text(std::uint32_t c) {
  return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x206F);
}

/// Nothing to be seen: lines of their own, spaces without width, tags, what is no character. What joins letters stays.
bool is_unseen(std::uint32_t c) {
  return (c >= 0x80 && c < 0xA0) || c == 0xAD || c == 0x180E || c == 0x200B || c == 0x2028 || c == 0x2029 ||
         (c >= 0x2060 && c <= 0x2064) || c == 0xFEFF || (c >= 0xFDD0 && c < 0xFDF0) || (c & 0xFFFE) == 0xFFFE ||
         (c >= 0xE0000 && c < 0xE0080);
}

}  // namespace

std::string escaped(std::string_view text, std::size_t most) {
  std::string out;
  for (std::size_t count = 0; !text.empty(); ++count) {
    if (count == most) return out + "…";
    const CodePoint c = decode(text);
    const std::string_view bytes = text.substr(0, c.bytes == 0 ? 1 : c.bytes);
    text.remove_prefix(bytes.size());
    if (c.bytes == 0)
      out += "\uFFFD";
    else if (c.value == '&')
      out += "&amp;";
    else if (c.value == '<')
      out += "&lt;";
    else if (c.value == '>')
      out += "&gt;";
    else if (c.value == '"')
      out += "&quot;";
    else if (c.value == '\'')
      out += "&#39;";
    else if (c.value < 0x20)
      out += fmt::format("&#x{:X};", 0x2400 + c.value);
    else if (c.value == 0x7F)
      out += "&#x2421;";
    else if (turns_text(c.value) || is_unseen(c.value))
      out += fmt::format("[U+{:04X}]", c.value);
    else
      out += bytes;
  }
  return out;
}

std::string isolated(std::string_view text, std::size_t most) { return "<bdi>" + escaped(text, most) + "</bdi>"; }

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t j = 0; j < 3; ++j)
      three = three << 8 | (i + j < bytes.size() ? static_cast<std::uint8_t>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j)
      out += i + j <= bytes.size() && (j < 2 || i + j - 1 < bytes.size()) ? digits[three >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string address(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || c == '.' || c == '/';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<std::uint8_t>(c));
  }
  return out;
}

}  // namespace tenon::track::html
