// A name of the run comes first, so that no file elsewhere changes what it means.
#include "lib/track/run_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "lib/io/file.hpp"
#include "tenon/error.hpp"

namespace tenon::track {

std::string file_of_run(const RunView& run, const std::string& text) {
  const std::vector<std::string> names = run.get_file_names();
  std::error_code ignored;
  const std::string inside = std::filesystem::canonical(run.folder, ignored).string() + "/";
  const std::string whole = std::filesystem::canonical(text, ignored).string();
  const std::string by_path = whole.starts_with(inside) ? whole.substr(inside.size()) : "";
  for (const std::string& name : {text, "outputs/" + text, by_path})
    if (std::ranges::find(names, name) != names.end()) return name;
  throw UsageError(fmt::format("[track] expected a file of run {}, found '{}'; its files: {}", shown(run.id),
                               shown(text), names.empty() ? "none" : shown(fmt::format("{}", fmt::join(names, ", ")))));
}

}  // namespace tenon::track
