// A run read from its folder, and what can be done with one from outside.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "lib/track/manifest.hpp"
#include "lib/track/places.hpp"
#include "lib/track/read_log.hpp"
#include "lib/track/run_file.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"

namespace tenon::track {
namespace {

/// Folders of runs under `root`, by experiment.
std::vector<std::string> folders_of_runs(const std::string& root) {
  std::vector<std::string> folders;
  for (const std::string& experiment : names_in(root))
    for (const std::string& id : names_in(root + "/" + experiment)) {
      std::string folder = root + "/" + experiment + "/" + id;
      if (is_file(folder + "/run.json")) folders.push_back(std::move(folder));
    }
  return folders;
}

RunView read_run(const std::string& folder) {
  RunView view;
  view.folder = folder;
  const Json json = Json::parse(read_text(folder + "/run.json"), nullptr, false);
  if (!json.is_object()) throw IoError(fmt::format("[track] expected JSON in {}/run.json", shown(folder)));
  view.id = string_of(json, "id");
  view.name = string_of(json, "name");
  view.experiment = string_of(json, "experiment");
  view.started = view.last_written = integer_of(json, "started");
  view.params = pairs_of(json, "params");
  view.tags = pairs_of(json, "tags");
  for (const char* member : {"tenon", "host", "user", "working_folder", "revision"})
    if (std::string value = string_of(json, member); !value.empty()) view.environment.emplace_back(member, value);
  if (const auto dirty = json.find("dirty"); dirty != json.end() && dirty->is_boolean())
    view.environment.emplace_back("dirty", dirty->get<bool>() ? "true" : "false");
  for (const auto& [name, value] : pairs_of(json, "environment")) put(view.environment, name, value);
  if (const auto words = json.find("command_line"); words != json.end() && words->is_array())
    for (const Json& word : *words) view.command_line.push_back(string_of(word));
  view.refresh();
  return view;
}

}  // namespace

std::string_view name_of(Status status) noexcept {
  switch (status) {
    case Status::running:
      return "running";
    case Status::completed:
      return "completed";
    case Status::failed:
      return "failed";
    case Status::crashed:
      return "crashed";
  }
  return "?";
}

double Metric::last() const { return points.empty() ? std::numeric_limits<double>::quiet_NaN() : points.back().value; }
std::vector<double> Metric::values() const {
  std::vector<double> values;
  values.reserve(points.size());
  for (const Point& point : points) values.push_back(point.value);
  return values;
}

RunView RunView::open(const std::string& id_or_folder, const std::string& root) {
  if (id_or_folder.empty()) throw UsageError("[track] expected a run's id or folder, found an empty text");
  if (is_file(id_or_folder + "/run.json")) return read_run(id_or_folder);
  const std::string place = root_of_runs(root);
  std::vector<std::string> exact, found, all;
  for (const std::string& folder : folders_of_runs(place)) {
    const std::string id = base_of(folder);
    if (id == id_or_folder) exact.push_back(folder);
    if (id.starts_with(id_or_folder)) found.push_back(folder);
    all.push_back(id);
  }
  if (exact.size() == 1) return read_run(exact[0]);
  if (found.size() == 1) return read_run(found[0]);
  std::sort(all.rbegin(), all.rend());
  const std::size_t count = all.size();
  all.resize(std::min<std::size_t>(count, 10));
  throw UsageError(fmt::format("[track] '{}' is {} run under {}; there are {}{}{}", shown(id_or_folder),
                               found.empty() ? "no" : "more than one", shown(place), count,
                               all.empty() ? "" : ", the newest: ", shown(fmt::format("{}", fmt::join(all, ", ")))));
}

std::vector<RunView> RunView::all(const std::string& root) {
  std::vector<RunView> views;
  for (const std::string& folder : folders_of_runs(root_of_runs(root))) {
    try {
      views.push_back(read_run(folder));
    } catch (const IoError&) {
      // A folder that is being removed, or was damaged, hides no other.
    }
  }
  std::sort(views.begin(), views.end(),
            [](const RunView& a, const RunView& b) { return std::tie(a.started, a.id) < std::tie(b.started, b.id); });
  return views;
}

const Metric* RunView::metric(std::string_view wanted) const {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& metric) { return metric.name == wanted; });
  return found == metrics.end() ? nullptr : &*found;
}

bool RunView::refresh() {
  // Asked before the log is read: who lets go of the lock has written its last line.
  const bool written = FileLock::is_held(folder + "/lock");
  const Status before = status;
  const bool grown = LogReader(*this).read();
  if (!ended_) {
    status = written ? Status::running : Status::crashed;
    ended = written ? 0 : last_written;
  }
  return grown || status != before;
}

std::vector<FileEntry> RunView::files() const {
  if (status != Status::running)
    if (auto files = read_manifest(folder)) return *files;
  return take_stock(folder);
}

std::vector<std::string> RunView::get_file_names() const {
  std::vector<std::string> names;
  if (status != Status::running)
    if (const auto files = read_manifest(folder)) {
      for (const FileEntry& file : *files) names.push_back(file.name);
      return names;
    }
  return names_of_files(folder);
}

void RunView::download_file(const std::string& wanted, const std::string& to) const {
  const std::string found = file_of_run(*this, wanted);
  std::string expected;
  if (status != Status::running)
    for (const FileEntry& file : read_manifest(folder).value_or(std::vector<FileEntry>()))
      if (file.name == found) expected = file.sha256;
  copy_file(folder + "/" + found, to, expected);
}

void remove_run(const RunView& run) {
  if (!is_file(run.folder + "/run.json"))
    throw UsageError(fmt::format("[track] expected the folder of a run: {}", shown(run.folder)));
  const bool has_lock = is_file(run.folder + "/lock");
  const std::optional<FileLock> lock = FileLock::attempt(run.folder + "/lock");
  if (has_lock && !lock) throw UsageError(fmt::format("[track] run {} is running", shown(run.id)));
  std::error_code error;
  std::filesystem::remove_all(run.folder, error);
  if (error) fail_io("remove", run.folder, error.value());
}

}  // namespace tenon::track
