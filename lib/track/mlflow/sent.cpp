// mlflow.json as JSON: {"servers": {"http://host:5000": {...}}}
#include "lib/track/mlflow/sent.hpp"

#include <nlohmann/json.hpp>

#include "lib/track/files.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"

namespace tenon::track::mlflow {
namespace {

Json read_all(const std::string& folder) {
  const std::string path = folder + "/mlflow.json";
  if (!is_file(path)) return Json::object();
  try {
    Json json = Json::parse(read_text(path), nullptr, false);
    if (json.is_object() && json.contains("servers") && json["servers"].is_object()) return json;
  } catch (const IoError&) {
    // As if it were lost: the server is asked.
  }
  return Json::object();
}

Json object_of(const Pairs& pairs) {
  Json json = Json::object();
  for (const auto& [name, value] : pairs) json[to_utf8(name)] = to_utf8(value);
  return json;
}

Json object_of(const std::map<std::string, std::string>& map) { return object_of(Pairs(map.begin(), map.end())); }

std::map<std::string, std::string> map_of(const Json& json, const char* member) {
  const Pairs pairs = pairs_of(json, member);
  return {pairs.begin(), pairs.end()};
}

}  // namespace

Sent read_sent(const std::string& folder, const std::string& server) {
  const Json all = read_all(folder);
  Sent sent;
  if (!all.contains("servers") || !all["servers"].contains(server) || !all["servers"][server].is_object()) return sent;
  const Json& json = all["servers"][server];
  sent.run_id = string_of(json, "run_id");
  sent.experiment_id = string_of(json, "experiment_id");
  sent.artifact_uri = string_of(json, "artifact_uri");
  sent.status = string_of(json, "status");
  if (const auto points = json.find("points"); points != json.end() && points->is_object())
    for (const auto& [name, count] : points->items())
      if (count.is_number_integer()) sent.points[from_utf8(name)] = count.get<std::int64_t>();
  sent.params = pairs_of(json, "params");
  sent.tags = pairs_of(json, "tags");
  sent.files = map_of(json, "files");
  sent.models = map_of(json, "models");
  const auto certain = json.find("certain");
  sent.certain = certain != json.end() && certain->is_boolean() && certain->get<bool>();
  return sent;
}

void write_sent(const std::string& folder, const std::string& server, const Sent& sent) {
  Json all = read_all(folder), json = Json::object();
  json["run_id"] = sent.run_id;
  json["experiment_id"] = sent.experiment_id;
  json["artifact_uri"] = sent.artifact_uri;
  json["status"] = sent.status;
  json["certain"] = sent.certain;
  json["points"] = Json::object();
  for (const auto& [name, count] : sent.points) json["points"][to_utf8(name)] = count;
  json["params"] = object_of(sent.params);
  json["tags"] = object_of(sent.tags);
  json["files"] = object_of(sent.files);
  json["models"] = object_of(sent.models);
  all["servers"][server] = std::move(json);
  put_file(folder + "/mlflow.json", all.dump() + "\n");
}

}  // namespace tenon::track::mlflow
