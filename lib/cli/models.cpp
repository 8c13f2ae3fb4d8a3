// tenon models ls|show|register|get|alias
#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "lib/cli/commands.hpp"
#include "lib/cli/text.hpp"
#include "lib/track/places.hpp"
#include "lib/track/run_file.hpp"
#include "tenon/error.hpp"

namespace tenon::cli {
namespace {

using track::ModelVersion;
using track::Registry;
using track::RunView;

struct ModelFlags : Options {
  std::string name, file, run, version, alias, to;
  bool remove = false;
};

Registry registry_of(const ModelFlags& f) {
  return Registry(f.models.empty() ? track::root_of_models(track::root_of_runs(f.root)) : f.models);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

Json json_of(const ModelVersion& m) {
  Json aliases = Json::array();
  for (const std::string& alias : m.aliases) aliases.push_back(json_text(alias));
  Json metrics = Json::object();
  for (const auto& [name, value] : m.metrics) {
    // What the registry keeps is the text of a number.
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = error == std::errc() && end == value.data() + value.size() && value != "NaN";
    metrics[track::to_utf8(name)] = whole ? json_number(number) : json_text(value);
  }
  return {{"name", json_text(m.name)},    {"id", json_text(m.id)},     {"version", m.version},
          {"run", json_text(m.run_id)},   {"path", json_text(m.path)}, {"bytes", m.bytes},
          {"sha256", m.sha256},           {"created", m.created},      {"aliases", std::move(aliases)},
          {"metrics", std::move(metrics)}};
}

Table table_of(const std::vector<ModelVersion>& versions) {
  Table table{{"model", "version", "aliases", "created", "run", "bytes", "sha256", "path"}, {}};
  for (const ModelVersion& m : versions)
    table.rows.push_back({m.name, count_cell(m.version), joined(m.aliases), time_cell(m.created), m.run_id,
                          size_cell(m.bytes), Cell(m.sha256.substr(0, 12), m.sha256), m.path});
  return table;
}

/// The newest version of every model; `show` has them all.
int list(const ModelFlags& f) {
  const Registry registry = registry_of(f);
  std::vector<ModelVersion> newest;
  for (const std::string& name : registry.names())
    if (std::vector<ModelVersion> versions = registry.versions(name); !versions.empty())
      newest.push_back(std::move(versions.back()));
  if (!f.json) {
    print_rows(table_of(newest), f);
    return 0;
  }
  Json array = Json::array();
  for (const ModelVersion& m : newest) array.push_back(json_of(m));
  print_json(array);
  return 0;
}

int show(const ModelFlags& f) {
  const std::vector<ModelVersion> versions = registry_of(f).versions(f.name);
  if (!f.json) {
    print_rows(table_of(versions), f);
    return 0;
  }
  Json array = Json::array();
  for (const ModelVersion& m : versions) array.push_back(json_of(m));
  print_json(array);
  return 0;
}

int register_file(const ModelFlags& f) {
  const RunView run = RunView::open(f.run, f.root);
  const ModelVersion m =
      registry_of(f).register_model(f.name, run.folder + "/" + track::file_of_run(run, f.file), &run);
  if (f.json)
    print_json(json_of(m));
  else if (f.csv)
    print_csv(table_of({m}));
  else
    print(fmt::format("{}\t{}\t{}\n", visible(m.name), visible(m.id), m.version));
  return 0;
}

int get(const ModelFlags& f) {
  ModelVersion m = registry_of(f).get(f.name, f.version);
  if (!f.to.empty()) {
    std::error_code none;
    // A folder gets the file under the name that it has.
    if (std::filesystem::is_directory(f.to, none))
      m.path = (std::filesystem::path(f.to) / track::base_of(m.path)).string();
    else
      m.path = f.to;
    track::copy_file(registry_of(f).get(f.name, std::to_string(m.version)).path, m.path, m.sha256);
  }
  if (f.json)
    print_json(json_of(m));
  else if (f.csv)
    print_csv(table_of({m}));
  else
    print(fmt::format("{}\n", on_terminal() ? visible(m.path) : m.path));  // a program gets the path as it is
  return 0;
}

int alias(const ModelFlags& f) {
  Registry registry = registry_of(f);
  if (f.remove == !f.version.empty())
    throw UsageError("[alias] expected either a version or --remove, found " +
                     std::string(f.remove ? "both" : "neither"));
  if (f.remove) {
    registry.remove_alias(f.name, f.alias);
    return 0;
  }
  // Another alias will do for the version.
  registry.set_alias(f.name, f.alias, registry.get(f.name, f.version).version);
  return 0;
}

}  // namespace

void add_models(::CLI::App& app, Action& action) {
  ::CLI::App* models = app.add_subcommand("models", "Models: list, show, register, get a file, name a version");
  models->require_subcommand(1);
  const auto add = [&](const char* name, const char* about, int (*act)(const ModelFlags&), Formats formats) {
    auto flags = std::make_shared<ModelFlags>();
    ::CLI::App* command = add_command(*models, name, about, flags, formats);
    command->add_option("--models", flags->models, "Folder of all models (default: TENON_MODELS, or beside the runs)")
        ->type_name("DIR");
    command->callback([&action, flags, act] { action = [flags, act] { return act(*flags); }; });
    return std::pair(command, flags);
  };
  constexpr const char* about_name = "Name of the model";
  (void)add("ls", "Every model with its newest version", list, Formats::all);
  {
    const auto [command, flags] = add("show", "Every version of a model", show, Formats::all);
    command->add_option("NAME", flags->name, about_name)->required()->type_name("");
  }
  {
    const auto [command, flags] =
        add("register", "Make a file of a run the next version; prints name, id and version, between tabs",
            register_file, Formats::all);
    command->add_option("NAME", flags->name, about_name)->required()->type_name("");
    command->add_option("FILE", flags->file, "File of the run, by its name in outputs/ or its path")
        ->required()
        ->type_name("");
    command->add_option("--run", flags->run, "Id of the run, the beginning of one, or its folder")
        ->required()
        ->type_name("RUN");
  }
  {
    const auto [command, flags] =
        add("get", "The path of a version's file; with --to, of a copy that was verified", get, Formats::all);
    command->add_option("NAME", flags->name, about_name)->required()->type_name("");
    command->add_option("VERSION", flags->version, "Number or alias (default: the newest)")->type_name("");
    command->add_option("--to", flags->to, "Copy the file here, and check its SHA-256")->type_name("PATH");
  }
  {
    const auto [command, flags] = add("alias", "Name a version, or take the name away", alias, Formats::none);
    command->add_option("NAME", flags->name, about_name)->required()->type_name("");
    command->add_option("ALIAS", flags->alias, "The name for it: production, say")->required()->type_name("");
    command->add_option("VERSION", flags->version, "Number, or another alias")->type_name("");
    command->add_flag("--remove", flags->remove, "Take the alias away");
  }
}

}  // namespace tenon::cli
