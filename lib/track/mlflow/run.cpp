// The run on the server: found again by its tag `tenon.run_id`, or made; parameters, tags, status.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "lib/io/file.hpp"
#include "lib/io/sha256.hpp"
#include "lib/track/mlflow/names.hpp"
#include "lib/track/mlflow/sync.hpp"
#include "tenon/log.hpp"

namespace tenon::track::mlflow {
namespace {

constexpr std::size_t max_param = 6'000, max_tag = 5'000, max_experiment = 500, max_name_bytes = 500;
constexpr std::size_t max_entries = 100, max_bytes = 500'000;  // of a request

const Json& member(const Json& json, const char* name) {
  static const Json nothing;
  if (!json.is_object()) return nothing;
  const auto found = json.find(name);
  return found == json.end() ? nothing : *found;
}

const char* status_of(Status status) {
  switch (status) {
    case Status::running:
      return "RUNNING";
    case Status::completed:
      return "FINISHED";
    case Status::failed:
      return "FAILED";
    case Status::crashed:
      return "KILLED";
  }
  return "FAILED";
}

const std::string* value_of(const Pairs& pairs, const std::string& name) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const auto& pair) { return pair.first == name; });
  return found == pairs.end() ? nullptr : &found->second;
}

std::string experiment_name(const std::string& name) {
  if (to_utf8(name).size() <= max_experiment) return name;
  return text_for(name, max_experiment - 9) + "-" + sha256_hex(name).substr(0, 8);
}

/// Hands over `entries` in groups that fit a request.
void in_groups(const Pairs& entries, const std::function<void(const Pairs& group, const std::string& items)>& send) {
  Pairs group;
  std::string items;
  for (const auto& entry : entries) {
    add_entry(items, entry.first, entry.second);
    group.push_back(entry);
    if (group.size() < max_entries && items.size() < max_bytes) continue;
    send(group, items);
    group.clear();
    items.clear();
  }
  if (!group.empty()) send(group, items);
}

}  // namespace

std::string Sync::find_experiment() {
  const std::string name = experiment_name(run_.experiment);
  const auto get = [&]() -> std::string {
    try {
      const Json json = client_.get("mlflow/experiments/get-by-name", {{"experiment_name", to_utf8(name)}});
      const Json& experiment = member(json, "experiment");
      if (string_of(experiment, "lifecycle_stage") == "deleted")
        throw IoError(
            fmt::format("[mlflow] {}: the experiment '{}' is deleted there; restore it or choose another name",
                        shown(client_.address().base), shown(name)));
      return string_of(experiment, "experiment_id");
    } catch (const Refusal& refusal) {
      if (refusal.code == "RESOURCE_DOES_NOT_EXIST") return "";
      throw;
    }
  };
  return client_.once(get, [&]() -> std::string {
    std::string body = "{\"name\":";
    add_string(body, name);
    try {
      return string_of(client_.post("mlflow/experiments/create", body + "}"), "experiment_id");
    } catch (const Refusal& refusal) {
      if (refusal.code != "RESOURCE_ALREADY_EXISTS") throw;
      return get();  // somebody was faster
    }
  });
}

std::string Sync::search_run(const std::string& experiment_id) {
  std::string body = "{\"max_results\":2,\"experiment_ids\":[";
  add_string(body, experiment_id);
  body += "],\"filter\":";
  // Ids are digits, letters and dashes; anything else of a folder made by hand must not end the quotes.
  add_string(body, "tags.`tenon.run_id` = '" + name_for(run_.id) + "'");
  const Json json = client_.post("mlflow/runs/search", body + "}");
  const Json& runs = member(json, "runs");
  if (!runs.is_array() || runs.empty()) return "";
  return string_of(member(runs[0], "info"), "run_id");
}

std::string Sync::create_run(const std::string& experiment_id) {
  std::string items;
  add_entry(items, "tenon.run_id", name_for(run_.id));
  std::string body = "{\"experiment_id\":";
  add_string(body, experiment_id);
  body += ",\"run_name\":";
  add_string(body, text_for(run_.name.empty() ? run_.id : run_.name, max_name_bytes));
  body += ",\"start_time\":";
  add_number(body, run_.started);
  const Json json = client_.post("mlflow/runs/create", fmt::format("{},\"tags\":[{}]}}", body, items));
  return string_of(member(member(json, "run"), "info"), "run_id");
}

void Sync::take_what_is_there(const Json& run) {
  const Json& info = member(run, "info");
  if (string_of(info, "lifecycle_stage") == "deleted")
    throw IoError(
        fmt::format("[mlflow] {}: the run {} is deleted there; restore it, or remove mlflow.json for a new one",
                    shown(client_.address().base), shown(sent_.run_id)));
  sent_.artifact_uri = string_of(info, "artifact_uri");
  if (!ask_) return;
  sent_.status = string_of(info, "status");
  const Json& params = member(member(run, "data"), "params");
  if (!params.is_array()) return;
  for (const auto& [name, value] : run_.params)
    for (const Json& param : params)
      if (string_of(param, "key") == name_for(name)) put(sent_.params, name, text_for(value, max_param));
}

void Sync::find_run() {
  const auto look = [&] {
    const Json json = client_.get("mlflow/runs/get", {{"run_id", sent_.run_id}});
    take_what_is_there(member(json, "run"));
  };
  if (!sent_.run_id.empty()) {
    try {
      ask_ = !sent_.certain;
      return look();
    } catch (const Refusal& refusal) {
      if (refusal.code != "RESOURCE_DOES_NOT_EXIST") throw;
      sent_ = {};  // another server at this address, or the run was removed for good
    }
  }
  sent_.experiment_id = find_experiment();
  bool made = false;
  sent_.run_id = client_.once([&] { return search_run(sent_.experiment_id); },
                              [&] {
                                made = true;
                                return create_run(sent_.experiment_id);
                              });
  if (sent_.experiment_id.empty() || sent_.run_id.empty())
    throw IoError(
        fmt::format("[mlflow] {}: expected the ids of experiment and run, found none", shown(client_.address().base)));
  ask_ = !made;
  begin();
  look();
}

void Sync::send_params() {
  Pairs entries, names;
  for (const auto& [name, value] : run_.params) {
    const std::string cut = text_for(value, max_param);
    if (const std::string* before = value_of(sent_.params, name)) {
      if (*before != cut)
        tenon::detail::log(
            LogLevel::warning,
            fmt::format("[mlflow] the parameter '{}' keeps its first value: MLflow's do not change", shown(name)));
      continue;
    }
    entries.emplace_back(name_for(name), cut);
    names.emplace_back(name, cut);
  }
  std::size_t done = 0;
  in_groups(entries, [&](const Pairs& group, const std::string& items) {
    post_batch("params", items);
    for (std::size_t i = 0; i < group.size(); ++i, ++done) put(sent_.params, names[done].first, names[done].second);
    result_.params_sent += static_cast<std::int64_t>(group.size());
    save();
  });
}

Pairs Sync::wanted_tags() const {
  Pairs tags;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) put(tags, name_for(name), text_for(value, max_tag));
  };
  add("mlflow.runName", run_.name.empty() ? run_.id : run_.name);
  if (!run_.command_line.empty()) {
    add("mlflow.source.name", run_.command_line[0]);
    add("mlflow.source.type", "LOCAL");
  }
  for (const auto& [name, value] : run_.environment) {
    if (name == "user") add("mlflow.user", value);
    if (name == "revision") add("mlflow.source.git.commit", value);
    add("tenon." + name, value);
  }
  add("tenon.reason", run_.reason);
  for (const auto& [name, value] : run_.tags) add(name, value);
  const auto true_name = [&](const std::string& name) {
    if (name_for(name) != name) add("tenon.name." + name_for(name), name);
  };
  for (const Metric& metric : run_.metrics) true_name(metric.name);
  for (const auto& [name, value] : run_.params) true_name(name);
  for (const auto& [name, value] : run_.tags) true_name(name);
  put(tags, "tenon.run_id", name_for(run_.id));
  return tags;
}

void Sync::send_tags() {
  Pairs fresh;
  for (const auto& [name, value] : wanted_tags()) {
    const std::string* before = value_of(sent_.tags, name);
    if (before == nullptr || *before != value) fresh.emplace_back(name, value);
  }
  in_groups(fresh, [&](const Pairs& group, const std::string& items) {
    post_batch("tags", items);
    for (const auto& [name, value] : group) put(sent_.tags, name, value);
    result_.tags_sent += static_cast<std::int64_t>(group.size());
    save();
  });
}

void Sync::send_status() {
  const std::string status = status_of(run_.status);
  if (sent_.status == status) return;
  begin();
  std::string body = "{\"run_id\":";
  add_string(body, sent_.run_id);
  body += ",\"status\":\"" + status + "\"";
  if (run_.status != Status::running) {
    body += ",\"end_time\":";
    add_number(body, run_.ended != 0 ? run_.ended : run_.last_written);
  }
  client_.post("mlflow/runs/update", body + "}");
  sent_.status = status;
}

}  // namespace tenon::track::mlflow
