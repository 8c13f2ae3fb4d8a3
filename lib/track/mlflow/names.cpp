// What MLflow refuses, found out from the server, and what is sent instead.
#include "lib/track/mlflow/names.hpp"

#include <algorithm>

#include "lib/io/sha256.hpp"
#include "lib/track/slug.hpp"
#include "lib/track/text.hpp"

namespace tenon::track::mlflow {
namespace {

constexpr std::size_t max_name = 250;

bool plain(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
         std::string_view("_-. :/").find(c) != std::string_view::npos;
}

/// Whether no part of the path is empty, `.` or `..`.
bool is_itself_as_path(std::string_view name) {
  for (;;) {
    const std::size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace

std::string name_for(std::string_view name) {
  if (name.size() <= max_name && std::all_of(name.begin(), name.end(), plain) && is_itself_as_path(name))
    return std::string(name);
  const std::string digits = sha256_hex(std::string(name)).substr(0, 8);
  std::string out(name.substr(0, max_name - 9));
  const bool keep_slashes = is_itself_as_path(name);
  for (char& c : out)
    if (!plain(c) || (c == '/' && !keep_slashes)) c = '_';
  return out + "-" + digits;
}

std::string artifact_path_for(std::string_view path) {
  std::string out;
  for (;;) {
    const std::size_t slash = path.find('/');
    if (slash == std::string_view::npos) return out + file_slug_of(path);
    out += slug_of(path.substr(0, slash)) + "/";
    path.remove_prefix(slash + 1);
  }
}

std::string text_for(std::string_view text, std::size_t most) {
  const std::string out = to_utf8(text);
  if (out.size() <= most) return std::string(text);
  std::size_t end = most - 3;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;
  return from_utf8(out.substr(0, end)) + "...";
}

}  // namespace tenon::track::mlflow
