// Where runs and models lie unless the program says so.
#pragma once
#include <cstdlib>
#include <string>

#include "lib/track/files.hpp"

namespace tenon::track {

inline std::string place(const std::string& given, const char* variable, const char* otherwise) {
  if (!given.empty()) return given;
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

inline std::string root_of_runs(const std::string& given) { return place(given, "TENON_RUNS", "runs"); }

/// The models that go with runs under `root`: beside them.
inline std::string root_of_models(const std::string& root) {
  std::string base = root;
  while (base.size() > 1 && base.back() == '/') base.pop_back();
  const std::string parent = parent_of(base);
  return place("", "TENON_MODELS", parent == "." && !base.starts_with("./") ? "models" : (parent + "/models").c_str());
}

}  // namespace tenon::track
