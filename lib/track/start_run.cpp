// Starting a run: its folder is complete, and locked, before it gets its name.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/track/about_process.hpp"
#include "lib/track/git_revision.hpp"
#include "lib/track/manifest.hpp"
#include "lib/track/places.hpp"
#include "lib/track/run_impl.hpp"
#include "lib/track/slug.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon::track {
namespace {

std::string new_id() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y%m%d-%H%M%S-", &utc);
  return std::string(text, size) + random_hex(3);
}

void add_member(std::string& to, const char* name, std::string_view value) {
  if (value.empty()) return;
  to += fmt::format(",\n\"{}\":", name);
  add_string(to, value);
}
void add_member(std::string& to, const char* name, const Pairs& value) {
  if (value.empty()) return;
  to += fmt::format(",\n\"{}\":", name);
  add_object(to, value);
}

/// run.json
std::string description(const std::string& id, const std::string& experiment, const RunOptions& options) {
  AboutProcess about = about_process();
  for (const auto& [name, value] : options.environment) put(about.environment, name, value);
  const Revision revision = revision_of(about.working_folder);
  std::string text = "{\"format\":1,\n\"tenon\":\"" TENON_VERSION "\"";
  add_member(text, "id", id);
  add_member(text, "name", options.name);
  add_member(text, "experiment", experiment);
  text += ",\n\"started\":";
  add_number(text, now_ms());
  text += ",\n\"command_line\":[";
  const std::vector<std::string>& words = options.command_line.empty() ? about.command_line : options.command_line;
  for (const std::string& word : words) {
    if (text.back() != '[') text += ',';
    add_string(text, word);
  }
  text += ']';
  add_member(text, "working_folder", about.working_folder);
  add_member(text, "host", about.host);
  text += ",\n\"pid\":";
  add_number(text, about.pid);
  add_member(text, "user", about.user);
  add_member(text, "revision", revision.commit);
  if (revision.dirty) text += *revision.dirty ? ",\n\"dirty\":true" : ",\n\"dirty\":false";
  add_member(text, "params", options.params);
  add_member(text, "tags", options.tags);
  add_member(text, "environment", about.environment);
  return text + "}\n";
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0) fail_io("make the folder", path, errno);
}

/// Two experiments whose slugs agree (8 digits can) are not mixed.
void claim(const std::string& folder, const std::string& name) {
  make_folders(folder);
  const std::string path = folder + "/experiment.json";
  if (!is_file(path)) {
    std::string text = "{\"name\":";
    add_string(text, name);
    put_file(path, text + "}\n");
    return;
  }
  const Json json = Json::parse(read_text(path), nullptr, false);
  const std::string found = json.is_object() ? string_of(json, "name") : std::string();
  if (found != name)
    throw IoError(
        fmt::format("[track] {} belongs to experiment '{}', expected '{}'", shown(folder), shown(found), shown(name)));
}

}  // namespace

void close_if_crashed(const std::string& folder) {
  if (is_file(folder + "/manifest.json")) return;
  const std::optional<FileLock> lock = FileLock::attempt(folder + "/lock");
  if (!lock || is_file(folder + "/manifest.json")) return;
  // Our own lock makes the run look alive, so `running` means: no last line.
  if (RunView::open(folder).status == Status::running) {
    Journal journal(folder + "/log.jsonl", true);
    journal.write(fmt::format("{{\"t\":{},\"status\":\"crashed\"}}\n", now_ms()));
    journal.sync();
  }
  write_manifest(folder);
}

Experiment::Experiment(std::string name, ExperimentOptions options)
    : name_(std::move(name)), root_(root_of_runs(options.root)) {
  check_name("an experiment", name_);
  folder_ = root_ + "/" + slug_of(name_);
}

Run Experiment::start_run(RunOptions options) {
  claim(folder_, name_);
  for (const std::string& id : runs()) {
    try {
      close_if_crashed(folder_ + "/" + id);
    } catch (const Error& error) {
      tenon::detail::log(LogLevel::warning, error.what());
    }
  }
  for (;;) {
    const std::string id = new_id(), folder = folder_ + "/" + id, hidden = folder_ + "/." + id;
    if (::mkdir(hidden.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      fail_io("make the folder", hidden, errno);
    }
    FileLock lock = FileLock::wait(hidden + "/lock");
    make_folder(hidden + "/outputs");
    make_folder(hidden + "/images");
    put_file(hidden + "/run.json", description(id, name_, options), true);
    if (::rename(hidden.c_str(), folder.c_str()) == 0) {
      // Absolute paths: the program may change its working folder.
      const std::string whole = std::filesystem::absolute(folder).string();
      return Run(std::make_unique<Run::Impl>(id, whole, parent_of(parent_of(whole)), options.strict, std::move(lock)));
    }
    const int error = errno;
    std::error_code ignored;
    std::filesystem::remove_all(hidden, ignored);
    if (error != EEXIST && error != ENOTEMPTY) fail_io("rename", folder, error);
  }
}

std::vector<std::string> Experiment::runs() const {
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (const std::string& id : names_in(folder_)) {
    const std::string path = folder_ + "/" + id + "/run.json";
    if (!is_file(path)) continue;
    const Json json = Json::parse(read_text(path), nullptr, false);
    found.emplace_back(json.is_object() ? integer_of(json, "started") : 0, id);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> ids;
  for (auto& [started, id] : found) ids.push_back(std::move(id));
  return ids;
}

}  // namespace tenon::track
