// Files of a run that has ended, and the model that is one of them.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/io/file.hpp"
#include "lib/track/files.hpp"
#include "lib/track/mlflow/names.hpp"
#include "lib/track/mlflow/sync.hpp"
#include "lib/track/run_file.hpp"
#include "tenon/log.hpp"

namespace tenon::track::mlflow {
namespace {

/// `path` with every part encoded.
std::string encoded_path(std::string_view path) {
  std::string out;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    out += percent_encoded(std::string(path.substr(at, slash - at)));
    if (slash < path.size()) out += '/';
    at = slash + 1;
  }
  return out;
}

}  // namespace

void Sync::send_file(const std::string& name, const std::string& path, const std::string& sha256) {
  const std::string artifact = artifact_path_for(name);
  if (const auto found = sent_.files.find(artifact); found != sent_.files.end() && found->second == sha256) return;
  std::string root = sent_.artifact_uri;
  if (root.starts_with("mlflow-artifacts:")) {
    root.erase(0, 17);
    if (root.starts_with("//")) {
      const std::size_t slash = std::min(root.find('/', 2), root.size());
      const std::string authority = root.substr(2, slash - 2);
      if (!authority.empty() && authority != client_.address().authority)
        throw IoError(fmt::format("[mlflow] {}: expected files to go to the server itself, found that it names {}",
                                  shown(client_.address().base), shown(authority)));
      root.erase(0, slash);
    }
    begin();
    client_.put("mlflow-artifacts/artifacts" + encoded_path(root + "/" + artifact), path);
  } else {
    if (root.starts_with("file://")) root.erase(0, 7);
    if (root.starts_with("file:/")) root.erase(0, 5);
    if (!root.starts_with('/') || !options_.local_artifacts || !client_.address().is_this_machine()) {
      if (!warned_)
        tenon::detail::log(
            LogLevel::warning,
            fmt::format("[mlflow] files stay here: {} keeps them at {}, where only its own machine or a client of that "
                        "store can put them (mlflow server --serve-artifacts takes them over HTTP)",
                        shown(client_.address().base), shown(sent_.artifact_uri)));
      warned_ = true;
      return;
    }
    begin();
    const std::string to = root + "/" + artifact;
    make_folders(parent_of(to));
    copy_file(path, to, sha256);
  }
  sent_.files[artifact] = sha256;
  ++result_.files_sent;
  save();
}

void Sync::send_files() {
  for (const FileEntry& file : run_.files()) send_file(file.name, run_.folder + "/" + file.name, file.sha256);
  for (const std::string& image : files_below(run_.folder + "/images")) {
    const std::string path = run_.folder + "/images/" + image;
    send_file("images/" + image, path, copy_file(path, "").sha256);
  }
  if (const std::string report = run_.folder + "/report.html"; is_file(report))
    send_file("report.html", report, copy_file(report, "").sha256);
}

std::string Sync::model_file() const {
  std::string name = file_of_run(run_, options_.model_file);
  if (run_.status == Status::running)
    throw UsageError("[mlflow] expected a run that has ended: the files of a running one may still change");
  return name;
}

void Sync::register_model() {
  const std::string file = model_file(), &model = options_.registered_model;
  std::string named = "{\"name\":";
  add_string(named, model);
  std::string& version = sent_.models[model + "\n" + file];
  if (version.empty()) {
    begin();
    try {
      client_.post("mlflow/registered-models/create", named + "}");
    } catch (const Refusal& refusal) {
      if (refusal.code != "RESOURCE_ALREADY_EXISTS") throw;
    }
    const std::string source = sent_.artifact_uri + "/" + artifact_path_for(file);
    const auto number_in = [](const Json& json) -> std::string {
      if (!json.is_object() || !json.contains("version")) return "";
      const Json& number = json["version"];
      return number.is_string() ? number.get<std::string>() : number.dump();
    };
    version = client_.once(
        [&]() -> std::string {
          const Json json = client_.get("mlflow/model-versions/search", {{"filter", "run_id='" + sent_.run_id + "'"}});
          if (const auto all = json.find("model_versions"); all != json.end() && all->is_array())
            for (const Json& one : *all)
              if (string_of(one, "name") == model && string_of(one, "source") == source) return number_in(one);
          return "";
        },
        [&] {
          std::string body = named + ",\"source\":";
          add_string(body, source);
          body += ",\"run_id\":";
          add_string(body, sent_.run_id);
          const Json json = client_.post("mlflow/model-versions/create", body + "}");
          return json.contains("model_version") ? number_in(json["model_version"]) : std::string();
        });
    if (version.empty())
      throw IoError(fmt::format("[mlflow] {}: expected the number of the model's version, found none",
                                shown(client_.address().base)));
    save();
  }
  result_.model_version = version;
  if (options_.alias.empty()) return;
  std::string body = named + ",\"alias\":";
  add_string(body, options_.alias);
  body += ",\"version\":";
  add_string(body, version);
  client_.post("mlflow/registered-models/alias", body + "}");
}

}  // namespace tenon::track::mlflow
