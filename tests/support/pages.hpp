// What tests of pages share: a folder, a metric by formula, the tags of a page.
#pragma once
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tenon/track.hpp"
#include "tests/support/catch.hpp"

namespace tenon::track {

inline std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// A folder of its own, gone at the end.
struct Root {
  std::string path = (std::filesystem::temp_directory_path() / "tenon_report_XXXXXX").string();
  Root() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Root() { std::filesystem::remove_all(path); }
};

/// The tags of a page with the names of their attributes, in order. A page that is not well formed ends the test.
inline std::vector<std::string> tags_of(const std::string& page) {
  std::vector<std::string> tags;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) {
    if (page.compare(at, 7, "<style>") == 0) {
      at = page.find("</style>", at);
      continue;
    }
    std::string tag;
    bool quoted = false;
    for (++at; at < page.size() && (quoted || page[at] != '>'); ++at) {
      if (page[at] == '"') quoted = !quoted;
      if (!quoted && page[at] != '"') tag += page[at];
      REQUIRE((quoted || page[at] != '<'));
    }
    REQUIRE(at < page.size());
    tags.push_back(tag);
  }
  return tags;
}

template <class Value>
Metric metric(const std::string& name, std::size_t count, const Value& value) {
  Metric m{.name = name, .points = {}};
  for (std::size_t i = 0; i < count; ++i) m.points.push_back({static_cast<std::int64_t>(i), value(i), 0});
  return m;
}

}  // namespace tenon::track
