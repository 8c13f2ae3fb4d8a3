// Safe bytes stay, others become _, and a digest tells apart what that has made equal.
#include "lib/track/slug.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "lib/io/file.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"

namespace tenon::track {
namespace {

constexpr std::size_t longest = 64, digits = 8, longest_suffix = 16;

bool safe(char c) {  // std::isalnum asks the locale
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}
bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

bool ends_like_a_slug(std::string_view name) {
  if (name.size() <= digits) return false;
  const std::string_view end = name.substr(name.size() - digits);
  return name[name.size() - digits - 1] == '-' && std::all_of(end.begin(), end.end(), is_hex);
}

bool is_slug(std::string_view name) {
  return !name.empty() && name.size() <= longest && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), safe) && !ends_like_a_slug(name);
}

/// The safe form of `shown` with the digest of `name`, at most `room` bytes.
std::string digested(std::string_view shown, std::string_view name, std::size_t room) {
  std::string text(shown.substr(0, room - digits - 1));
  for (char& c : text)
    if (!safe(c)) c = '_';
  if (!text.empty() && (text[0] == '.' || text[0] == '-')) text[0] = '_';
  return (text.empty() ? "_" : text) + "-" + sha256_hex(std::string(name)).substr(0, digits);
}

}  // namespace

std::string slug_of(std::string_view name) { return is_slug(name) ? std::string(name) : digested(name, name, longest); }

std::string file_slug_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  const std::string_view stem = name.substr(0, dot), suffix = dot == std::string_view::npos ? "" : name.substr(dot);
  if (is_slug(name)) return std::string(name);
  const bool keep = dot != std::string_view::npos && dot > 0 && suffix.size() > 1 && suffix.size() <= longest_suffix &&
                    std::all_of(suffix.begin(), suffix.end(), safe);
  return keep ? digested(stem, name, longest - suffix.size()) + std::string(suffix) : digested(name, name, longest);
}

void check_name(std::string_view what, std::string_view name) {
  constexpr std::size_t longest_name = 4096;
  if (name.empty()) throw UsageError(fmt::format("[track] expected the name of {}, found an empty text", what));
  if (name.size() > longest_name)
    throw UsageError(fmt::format("[track] the name of {} may have {} bytes, found {}: {}", what, longest_name,
                                 name.size(), shown(std::string(name))));
}

}  // namespace tenon::track
