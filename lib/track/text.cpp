// Any bytes as JSON strings, doubles as the shortest text.
#include "lib/track/text.hpp"

#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

namespace tenon::track {
namespace {

constexpr std::uint32_t first_escape = 0x10FF80, last_escape = 0x10FFFF;  // stand for the bytes 0x80 to 0xFF

struct Decoded {
  std::size_t length = 0;  // 0: no UTF-8 here
  std::uint32_t code = 0;
};

/// The character at the front of `s`, as the Unicode standard's table 3-7 allows it: shortest form, no surrogates.
Decoded decode(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(s[i])); };
  const std::uint32_t lead = at(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0 || s.size() < length) return {};
  std::uint32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return {};
    code = (code << 6) | (at(i) & 0x3F);
  }
  if ((length == 3 && code < 0x800) || (length == 4 && code < 0x10000) || code > 0x10FFFF) return {};
  if (code >= 0xD800 && code <= 0xDFFF) return {};
  return {length, code};
}

/// U+10FF00 + byte in UTF-8.
void add_escape(std::string& to, unsigned char byte) {
  to += "\xF4\x8F";
  to += static_cast<char>(0xBC | (byte >> 6));
  to += static_cast<char>(0x80 | (byte & 0x3F));
}

}  // namespace

std::string to_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Decoded d = decode(bytes);
    if (d.length == 0 || (d.code >= first_escape && d.code <= last_escape)) {
      add_escape(out, static_cast<unsigned char>(bytes[0]));
      bytes.remove_prefix(1);
    } else {
      out += bytes.substr(0, d.length);
      bytes.remove_prefix(d.length);
    }
  }
  return out;
}

std::string from_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded d = decode(text);
    const std::size_t length = std::max<std::size_t>(d.length, 1);
    if (d.code >= first_escape && d.code <= last_escape)
      out += static_cast<char>(d.code & 0xFF);
    else
      out += text.substr(0, length);
    text.remove_prefix(length);
  }
  return out;
}

void add_string(std::string& to, std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  to += '"';
  for (const char c : to_utf8(bytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      to += "\\u00";
      to += digits[byte >> 4];
      to += digits[byte & 15];
    } else {
      to += c;
    }
  }
  to += '"';
}

void add_number(std::string& to, double value) {
  if (!std::isfinite(value)) {
    to += std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    return;
  }
  if (value == 0 && std::signbit(value)) {  // "-0" would be read as an integer, which has no such zero
    to += "-0.0";
    return;
  }
  char text[32];
  to.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

void add_number(std::string& to, std::int64_t value) {
  char text[24];
  to.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

void add_object(std::string& to, const Pairs& pairs) {
  Pairs last;  // JSON wants each name once
  for (const auto& [name, value] : pairs) put(last, name, value);
  to += '{';
  for (std::size_t i = 0; i < last.size(); ++i) {
    if (i > 0) to += ',';
    add_string(to, last[i].first);
    to += ':';
    add_string(to, last[i].second);
  }
  to += '}';
}

std::string string_of(const Json& value) {
  return value.is_string() ? from_utf8(value.get_ref<const std::string&>()) : std::string();
}

std::string string_of(const Json& object, const char* member) {
  const auto found = object.find(member);
  return found == object.end() ? std::string() : string_of(*found);
}

bool number_of(const Json& value, double& number) {
  if (value.is_number()) {
    number = value.get<double>();
    return true;
  }
  if (!value.is_string()) return false;
  const std::string& text = value.get_ref<const std::string&>();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (text == "NaN")
    number = std::numeric_limits<double>::quiet_NaN();
  else if (text == "Infinity")
    number = infinity;
  else if (text == "-Infinity")
    number = -infinity;
  else
    return false;
  return true;
}

std::int64_t integer_of(const Json& object, const char* member, std::int64_t missing) {
  const auto found = object.find(member);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : missing;
}

Pairs pairs_of(const Json& object, const char* member) {
  Pairs pairs;
  const auto found = object.find(member);
  if (found == object.end() || !found->is_object()) return pairs;
  for (const auto& [name, value] : found->items())
    if (value.is_string()) put(pairs, from_utf8(name), string_of(value));
  return pairs;
}

void put(Pairs& pairs, const std::string& name, const std::string& value) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const auto& p) { return p.first == name; });
  if (found == pairs.end())
    pairs.emplace_back(name, value);
  else
    found->second = value;
}

std::int64_t now_ms() noexcept {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::string random_hex(int bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < bytes; ++i) {
    unsigned char byte = 0;
    if (::getrandom(&byte, 1, 0) != 1) byte = static_cast<unsigned char>(std::random_device{}());
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace tenon::track
