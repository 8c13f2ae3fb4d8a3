// Models by name and version: models/<slug>/model.json {"name","aliases"}, models/<slug>/<n>/{version.json, file}.
// A version is a complete folder that gets its number by rename(2) under the lock of its model.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "lib/track/places.hpp"
#include "lib/track/slug.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"
#include "tenon/track.hpp"

namespace tenon::track {
namespace {

std::optional<std::int64_t> number_of_version(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 1 || text[0] == '0') return std::nullopt;
  return n;
}

std::vector<std::int64_t> numbers_in(const std::string& folder) {
  std::vector<std::int64_t> numbers;
  for (const std::string& name : names_in(folder))
    if (const auto n = number_of_version(name)) numbers.push_back(*n);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// model.json
struct Model {
  std::string name;
  std::vector<std::pair<std::string, std::int64_t>> aliases;
};

std::optional<Model> read_model(const std::string& folder) {
  if (!is_file(folder + "/model.json")) return std::nullopt;
  const Json json = Json::parse(read_text(folder + "/model.json"), nullptr, false);
  if (!json.is_object()) throw IoError(fmt::format("[track] expected JSON in {}/model.json", shown(folder)));
  Model model{string_of(json, "name"), {}};
  if (const auto aliases = json.find("aliases"); aliases != json.end() && aliases->is_object())
    for (const auto& [alias, version] : aliases->items())
      if (version.is_number_integer()) model.aliases.emplace_back(from_utf8(alias), version.get<std::int64_t>());
  return model;
}

void write_model(const std::string& folder, const Model& model) {
  std::string text = "{\"name\":";
  add_string(text, model.name);
  text += ",\"aliases\":{";
  for (const auto& [alias, version] : model.aliases) {
    if (text.back() != '{') text += ',';
    add_string(text, alias);
    text += ':';
    add_number(text, version);
  }
  put_file(folder + "/model.json", text + "}}\n", true);
}

std::string description(const ModelVersion& model, const std::string& file) {
  std::string text = "{\"version\":";
  add_number(text, model.version);
  text += ",\"file\":";
  add_string(text, file);
  text += ",\"bytes\":";
  add_number(text, static_cast<std::int64_t>(model.bytes));
  text += ",\"sha256\":";
  add_string(text, model.sha256);
  text += ",\"created\":";
  add_number(text, model.created);
  text += ",\"run_id\":";
  add_string(text, model.run_id);
  text += ",\"metrics\":";
  add_object(text, model.metrics);
  return text + "}\n";
}

std::string id_of(std::string_view name, std::int64_t version) { return fmt::format("{}:{}", name, version); }

ModelVersion read_version(const std::string& folder, const Model& model, std::int64_t version) {
  const std::string path = fmt::format("{}/{}", folder, version);
  const Json json = Json::parse(read_text(path + "/version.json"), nullptr, false);
  if (!json.is_object()) throw IoError(fmt::format("[track] expected JSON in {}/version.json", shown(path)));
  ModelVersion out;
  out.name = model.name;
  out.version = version;
  out.id = id_of(model.name, version);
  out.run_id = string_of(json, "run_id");
  out.path = path + "/" + file_slug_of(string_of(json, "file"));
  out.sha256 = string_of(json, "sha256");
  out.bytes = static_cast<std::uint64_t>(integer_of(json, "bytes"));
  out.created = integer_of(json, "created");
  out.metrics = pairs_of(json, "metrics");
  for (const auto& [alias, of] : model.aliases)
    if (of == version) out.aliases.push_back(alias);
  return out;
}

Pairs last_values(const RunView& run) {
  Pairs values;
  for (const Metric& metric : run.metrics) {
    std::string text;
    add_number(text, metric.last());
    std::erase(text, '"');
    values.emplace_back(metric.name, text);
  }
  return values;
}

/// A folder that goes away with this object unless it was renamed.
class FreshFolder {
 public:
  explicit FreshFolder(const std::string& parent) : path_(fmt::format("{}/.{}.new", parent, random_hex(8))) {
    if (::mkdir(path_.c_str(), 0777) != 0) fail_io("make the folder", path_, errno);
  }
  FreshFolder(const FreshFolder&) = delete;
  FreshFolder& operator=(const FreshFolder&) = delete;
  ~FreshFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  void rename_to(const std::string& target) {
    if (::rename(path_.c_str(), target.c_str()) != 0) fail_io("rename", target, errno);
    path_.clear();
  }

 private:
  std::string path_;
};

/// The model, under its lock. Throws UsageError that lists the models there are.
Model model_in(const std::string& registry, const std::string& folder, std::string_view name) {
  if (auto model = read_model(folder)) {
    if (model->name == name) return *model;
    throw IoError(fmt::format("[track] {} belongs to model '{}', expected '{}'", shown(folder), shown(model->name),
                              shown(std::string(name))));
  }
  std::vector<std::string> names = Registry(registry).names();
  throw UsageError(fmt::format("[track] no model '{}' under {}; there are: {}", shown(std::string(name)),
                               shown(registry),
                               names.empty() ? "none" : shown(fmt::format("{}", fmt::join(names, ", ")))));
}

}  // namespace

Registry::Registry(std::string folder) : folder_(place(folder, "TENON_MODELS", "models")) {}

ModelVersion Registry::register_model(std::string_view name, const std::string& file, const RunView* run) {
  check_name("a model", name);
  const std::string folder = folder_ + "/" + slug_of(name), file_name = file_slug_of(base_of(file));
  make_folders(folder);
  FreshFolder fresh(folder);
  // The long part, copying, is done before the lock is taken.
  const Copied copied = copy_file(file, fresh.path() + "/" + file_name, {}, true);
  ModelVersion out;
  out.name = std::string(name);
  out.sha256 = copied.sha256;
  out.bytes = copied.bytes;
  out.created = now_ms();
  if (run != nullptr) {
    out.run_id = run->id;
    out.metrics = last_values(*run);
  }
  const FileLock lock = FileLock::wait(folder + "/lock");
  if (!is_file(folder + "/model.json")) write_model(folder, {out.name, {}});
  (void)model_in(folder_, folder, name);
  const std::vector<std::int64_t> numbers = numbers_in(folder);
  out.version = numbers.empty() ? 1 : numbers.back() + 1;
  out.id = id_of(name, out.version);
  out.path = fmt::format("{}/{}/{}", folder, out.version, file_name);
  put_file(fresh.path() + "/version.json", description(out, file_name), true);
  fresh.rename_to(fmt::format("{}/{}", folder, out.version));
  return out;
}

std::vector<std::string> Registry::names() const {
  std::vector<std::string> names;
  for (const std::string& entry : names_in(folder_))
    if (const auto model = read_model(folder_ + "/" + entry)) names.push_back(model->name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<ModelVersion> Registry::versions(std::string_view name) const {
  check_name("a model", name);
  const std::string folder = folder_ + "/" + slug_of(name);
  const Model model = model_in(folder_, folder, name);
  std::vector<ModelVersion> versions;
  for (const std::int64_t n : numbers_in(folder)) versions.push_back(read_version(folder, model, n));
  return versions;
}

ModelVersion Registry::get(std::string_view name, std::string_view version_or_alias) const {
  check_name("a model", name);
  const std::string folder = folder_ + "/" + slug_of(name);
  const Model model = model_in(folder_, folder, name);
  const std::vector<std::int64_t> numbers = numbers_in(folder);
  std::optional<std::int64_t> wanted = number_of_version(version_or_alias);
  if (version_or_alias.empty() && !numbers.empty()) wanted = numbers.back();
  for (const auto& [alias, version] : model.aliases)
    if (alias == version_or_alias) wanted = version;
  if (wanted && std::binary_search(numbers.begin(), numbers.end(), *wanted))
    return read_version(folder, model, *wanted);
  std::string aliases;
  for (const auto& [alias, version] : model.aliases) aliases += fmt::format(", '{}' ({})", alias, version);
  throw UsageError(fmt::format("[track] model '{}' has no version '{}'; there are {} versions{}",
                               shown(std::string(name)), shown(std::string(version_or_alias)), numbers.size(),
                               shown(aliases)));
}

void Registry::set_alias(std::string_view name, std::string_view alias, std::int64_t version) {
  check_name("an alias", alias);
  if (number_of_version(alias)) throw UsageError(fmt::format("[track] an alias is no number, found '{}'", alias));
  (void)get(name, std::to_string(version));
  const std::string folder = folder_ + "/" + slug_of(name);
  const FileLock lock = FileLock::wait(folder + "/lock");
  Model model = model_in(folder_, folder, name);
  std::erase_if(model.aliases, [&](const auto& a) { return a.first == alias; });
  model.aliases.emplace_back(std::string(alias), version);
  write_model(folder, model);
}

void Registry::remove_alias(std::string_view name, std::string_view alias) {
  check_name("a model", name);
  const std::string folder = folder_ + "/" + slug_of(name);
  (void)model_in(folder_, folder, name);
  const FileLock lock = FileLock::wait(folder + "/lock");
  Model model = model_in(folder_, folder, name);
  if (std::erase_if(model.aliases, [&](const auto& a) { return a.first == alias; }) == 0)
    throw UsageError(fmt::format("[track] model '{}' has no alias '{}'", shown(model.name), shown(std::string(alias))));
  write_model(folder, model);
}

}  // namespace tenon::track
