// Writes and reads manifest.json: {"files":[{"name":..,"bytes":..,"sha256":..}]}.
#include "lib/track/manifest.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/track/files.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon::track {

std::vector<std::string> names_of_files(const std::string& folder) {
  std::vector<std::string> names = files_below(folder + "/outputs");
  for (std::string& name : names) name = "outputs/" + name;
  return names;
}

std::vector<FileEntry> take_stock(const std::string& folder) {
  std::vector<FileEntry> files;
  for (const std::string& name : names_of_files(folder)) {
    try {
      const Copied read = copy_file(folder + "/" + name, "");
      files.push_back({name, read.bytes, read.sha256});
    } catch (const Error& error) {
      tenon::detail::log(LogLevel::warning, error.what());
    }
  }
  return files;
}

void write_manifest(const std::string& folder) {
  std::string text = "{\"files\":[";
  for (const FileEntry& file : take_stock(folder)) {
    text += text.back() == '[' ? "\n" : ",\n";
    text += "{\"name\":";
    add_string(text, file.name);
    text += ",\"bytes\":";
    add_number(text, static_cast<std::int64_t>(file.bytes));
    text += ",\"sha256\":";
    add_string(text, file.sha256);
    text += '}';
  }
  put_file(folder + "/manifest.json", text + "]}\n");
}

std::optional<std::vector<FileEntry>> read_manifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  if (!is_file(path)) return std::nullopt;
  const Json json = Json::parse(read_text(path), nullptr, false);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_array()) return std::nullopt;
  std::vector<FileEntry> files;
  for (const Json& entry : json["files"]) {
    if (!entry.is_object()) continue;
    FileEntry file{string_of(entry, "name"), static_cast<std::uint64_t>(integer_of(entry, "bytes")),
                   string_of(entry, "sha256")};
    // A name that leaves the run's outputs is nobody's file.
    const std::string inside = "/" + file.name + "/";
    if (file.name.starts_with("outputs/") && inside.find("/../") == std::string::npos) files.push_back(std::move(file));
  }
  return files;
}

}  // namespace tenon::track
