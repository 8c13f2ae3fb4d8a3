// tenon models: the registry.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>

#include "lib/cli/commands.hpp"
#include "tenon/error.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;
using track::ModelVersion;

Json json_of(const ModelVersion& m) {
  Json metrics = Json::object();
  for (const auto& [name, value] : m.metrics) metrics[name] = value;
  return {{"name", m.name},       {"id", m.id},         {"version", m.version}, {"run_id", m.run_id},
          {"path", m.path},       {"sha256", m.sha256}, {"bytes", m.bytes},     {"created", m.created},
          {"aliases", m.aliases}, {"metrics", metrics}};
}

void print_versions(const std::vector<ModelVersion>& versions, Form form) {
  if (form == Form::json) {
    Json list = Json::array();
    for (const ModelVersion& m : versions) list.push_back(json_of(m));
    return print(dump(list));
  }
  Table table({"name", "version", "aliases", "run", "created", "bytes", "path"});
  for (const ModelVersion& m : versions)
    table.add({form == Form::csv ? m.name : plain(m.name, 40), std::to_string(m.version),
               plain(fmt::format("{}", fmt::join(m.aliases, " ")), 60), m.run_id, moment(m.created),
               std::to_string(m.bytes), form == Form::csv ? m.path : plain(m.path, 200)});
  print(table, form);
}

}  // namespace

void models_ls(const Request& r) {
  const track::Registry registry;
  std::vector<ModelVersion> newest;
  for (const std::string& name : registry.names()) newest.push_back(registry.get(name));
  print_versions(newest, r.form);
}

void models_show(const Request& r) { print_versions(track::Registry().versions(r.name), r.form); }

void models_get(const Request& r) {
  const ModelVersion m = track::Registry().get(r.name, r.version);
  r.form == Form::json ? print(dump(json_of(m))) : print(m.path + "\n");
}

void models_register(const Request& r) {
  std::optional<track::RunView> run;
  if (!r.run.empty()) run = track::RunView::open(r.run, r.root);
  const ModelVersion m = track::Registry().register_model(r.name, r.file, run ? &*run : nullptr);
  print(fmt::format("{}\t{}\t{}\n", plain(m.name, 4096), plain(m.id, 4096), m.version));
}

void models_alias(const Request& r) {
  track::Registry registry;
  if (r.version.empty()) {
    registry.remove_alias(r.name, r.alias);
    return print(fmt::format("Removed {}\n", plain(r.alias)));
  }
  const ModelVersion m = registry.get(r.name, r.version);
  registry.set_alias(r.name, r.alias, m.version);
  print(fmt::format("{} is version {}\n", plain(r.alias), m.version));
}

}  // namespace tenon::cli
