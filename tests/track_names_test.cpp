// Names of every kind, hostile ones too: stored as data, never a path.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/track/slug.hpp"
#include "lib/track/text.hpp"
#include "tenon/track.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::track;
using test::read_file;
using test::TempFolder;
using test::write_file;

namespace {

std::vector<std::string> hostile_names() {
  std::vector<std::string> names{"..",
                                 ".",
                                 "/",
                                 "../../escape",
                                 "/etc/passwd",
                                 "a/../../b",
                                 "a\\..\\b",
                                 "line\nbreak\r\n",
                                 std::string("nul\0byte", 8),
                                 "<script>alert(1)</script>",
                                 "\"><img src=x onerror=alert(1)>",
                                 "&amp;&#x3c;",
                                 "'; DROP TABLE runs; --",
                                 "-rf",
                                 ".hidden",
                                 "~",
                                 "$(reboot)`id`",
                                 "con",
                                 "trailing ",
                                 "trailing.",
                                 "\xe2\x80\xae"
                                 "gpj.exe",  // right-to-left override
                                 "\xe2\x81\xa6"
                                 "isolate\xe2\x81\xa9",
                                 "\xef\xbb\xbf"
                                 "bom",
                                 "\xff\xfe\x80",                      // no UTF-8
                                 "\xed\xa0\x80",                      // a surrogate
                                 "\xc0\xaf..\xc0\xaf",                // overlong slashes
                                 "\xf4\x8f\xbe\x80\xf4\x8f\xbf\xbf",  // the code points that stand for bytes
                                 "\xf4\x90\x80\x80",
                                 "cut \xe2\x82",
                                 "日本語",
                                 "e\xcc\x81 and \xc3\xa9",
                                 std::string(4096, 'x'),
                                 std::string(4096, '/'),
                                 std::string(2048, '\xc3')};
  std::uint32_t state = 1;
  for (int i = 0; i < 10000; ++i) {
    std::string name;
    state = state * 1664525u + 1013904223u;
    for (std::uint32_t n = 1 + (state >> 8) % 40; n > 0; --n) {
      state = state * 1664525u + 1013904223u;
      const char* pieces[] = {"../", "\n", "<", "\"", "\xe2\x80\xae", ".", "/", "a", "-", "\xff"};
      if ((state >> 24) % 2 == 0)
        name += pieces[(state >> 16) % 10];
      else
        name += static_cast<char>(state >> 12 & 0xFF);
    }
    names.push_back(name);
  }
  return names;
}

/// Every entry below `folder`, links not followed.
std::set<std::string> entries(const std::string& folder) {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) found.insert(entry.path().string());
  return found;
}

}  // namespace

TEST_CASE("any name makes a safe slug, and other names make other ones", "[track][names]") {
  CHECK(slug_of("mnist") == "mnist");
  CHECK(slug_of("mnist-cnn_2.1") == "mnist-cnn_2.1");
  CHECK(slug_of("a b").starts_with("a_b-"));
  CHECK(slug_of("a b").size() == 12);
  CHECK(slug_of(slug_of("a b")) != slug_of("a b"));  // else the two would share a folder
  CHECK(file_slug_of("mnist_cnn.safetensors") == "mnist_cnn.safetensors");
  CHECK(file_slug_of("my model.safetensors").ends_with(".safetensors"));
  CHECK(file_slug_of("step-00001000.bin") == "step-00001000.bin");
  std::set<std::string> names, slugs, files;
  for (const std::string& name : hostile_names()) {
    names.insert(name);
    for (const std::string& slug : {slug_of(name), file_slug_of(name)}) {
      REQUIRE((!slug.empty() && slug.size() <= 64 && slug[0] != '.' && slug[0] != '-'));
      REQUIRE(std::all_of(slug.begin(), slug.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
      }));
    }
    slugs.insert(slug_of(name));
    files.insert(file_slug_of(name));
  }
  CHECK(slugs.size() == names.size());
  CHECK(files.size() == names.size());
}

TEST_CASE("any bytes are a JSON string and come back", "[track][names]") {
  for (const std::string& name : hostile_names()) {
    std::string text;
    add_string(text, name);
    REQUIRE(text.find('\n') == std::string::npos);
    const auto json = Json::parse(text, nullptr, false);
    REQUIRE(json.is_string());
    REQUIRE(string_of(json) == name);
  }
  CHECK(to_utf8("日本語 é") == "日本語 é");
  CHECK(to_utf8("\x80") == "\xf4\x8f\xbe\x80");
}

TEST_CASE("hostile names come back from a run, and stay inside its folder", "[track][names]") {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "a/b/c/runs");
  const std::string root = folder / "a/b/c/runs";
  const std::vector<std::string> names = hostile_names();
  Run run = Experiment("<evil>/../..", {root}).start_run({.name = names[0]});
  Pairs params;
  for (std::size_t i = 0; i < 300; ++i) params.emplace_back(names[i], names[names.size() - 1 - i]);
  run.log_params(params);
  for (std::size_t i = 0; i < names.size(); ++i) run.log(names[i], static_cast<double>(i), 1);
  for (std::size_t i = 0; i < 300; ++i) {
    const Run::Value value{names[i], 0.5};
    run.log_steps(2, {&value, 1});
  }
  for (std::size_t i = 0; i < 60; ++i) {
    run.tag(names[i], names[i]);
    run.log_image(names[i], std::vector<std::uint8_t>(3), 1, 1, 3, static_cast<std::int64_t>(i), names[i]);
  }
  const std::vector<std::string> labels(names.begin(), names.begin() + 20);
  run.log_confusion(names[9], labels, std::vector<std::int64_t>(400, 1));
  run.fail(names[7]);

  const RunView view = RunView::open(run.id(), root);
  CHECK(view.experiment == "<evil>/../..");
  CHECK(view.name == names[0]);
  CHECK(view.reason == names[7]);
  std::set<std::string> distinct(names.begin(), names.end());
  REQUIRE(view.metrics.size() == distinct.size());
  for (const std::string& name : distinct) REQUIRE(view.metric(name) != nullptr);
  std::map<std::string, std::string> last(view.params.begin(), view.params.end()), given;
  for (const auto& [name, value] : params) given[name] = value;  // some of the names are there twice
  CHECK(last == given);
  CHECK(view.params.size() == given.size());
  REQUIRE(view.images.size() == 60);
  for (std::size_t i = 0; i < 60; ++i) {
    CHECK(view.images[i].name == names[i]);
    CHECK(view.images[i].caption == names[i]);
    CHECK(std::filesystem::is_regular_file(view.folder + "/" + view.images[i].file));
  }
  REQUIRE(view.confusions.size() == 1);
  CHECK(view.confusions[0].labels == labels);
  std::ifstream log(view.folder + "/log.jsonl");
  for (std::string line; std::getline(log, line);) REQUIRE(nlohmann::json::accept(line));

  for (std::size_t i = 0; i < 40; ++i) {
    Run other = Experiment(names[i], {root}).start_run();
    other.complete();
    REQUIRE(RunView::open(other.id(), root).experiment == names[i]);
  }
  Registry registry(folder / "a/b/c/models");
  write_file(folder / "a/b/c/file", "x");
  for (std::size_t i = 0; i < 40; ++i) {
    const ModelVersion model = registry.register_model(names[i], folder / "a/b/c/file");
    registry.set_alias(names[i], names[i + 1], 1);
    CHECK(registry.get(names[i], names[i + 1]).name == names[i]);
    CHECK(model.path.starts_with(folder / "a/b/c/models/"));
  }
  CHECK(registry.names().size() == 40);
  for (const std::string& path : entries(folder.str())) {
    const bool inside = path == folder / "a" || path == folder / "a/b" || path == folder / "a/b/c" ||
                        path == folder / "a/b/c/file" || path == root || path == folder / "a/b/c/models" ||
                        path.starts_with(root + "/") || path.starts_with(folder / "a/b/c/models/");
    REQUIRE(inside);
  }
}

TEST_CASE("files with odd names are the run's, and listed as they are", "[track][names]") {
  const TempFolder folder;
  Run run = Experiment("odd", {folder / "runs"}).start_run();
  const std::vector<std::string> odd{"a\nb", "<b>", "\xff\xfe", "..x", "日本"};
  std::set<std::string> expected;
  for (const std::string& name : odd) {
    write_file(folder / name, name);
    run.add_file(folder / name);
    if (name[0] == '.') continue;
    write_file(run.outputs() + "/" + name, name);  // the program's own doing
    expected.insert("outputs/" + name);
  }
  run.complete();
  const RunView view = RunView::open(run.folder());
  const std::vector<FileEntry> files = view.files();
  CHECK(files.size() == odd.size() + expected.size());
  std::set<std::string> found;
  for (const FileEntry& file : files) found.insert(file.name);
  CHECK(std::includes(found.begin(), found.end(), expected.begin(), expected.end()));
  for (const FileEntry& file : files) {
    view.download_file(file.name, folder / "copy");
    CHECK(read_file(folder / "copy").size() == file.bytes);
  }
}
