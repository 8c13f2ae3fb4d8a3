// Registered models: versions, aliases, and many processes at once.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <limits>
#include <set>

#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"
#include "tenon/track.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/idx_files.hpp"
#include "tests/support/message_of.hpp"

using namespace tenon;
using namespace tenon::track;
using test::child;
using test::message_of;
using test::read_file;
using test::TempFolder;
using test::wait_for;
using test::write_file;

TEST_CASE("models have versions, aliases, and the run that they are from", "[track]") {
  const TempFolder folder;
  Run run = Experiment("mnist", {folder / "runs"}).start_run();
  write_file(run.outputs() + "/net.safetensors", "weights");
  run.log("accuracy", 0.5);
  run.log("accuracy", 0.99);
  run.log("loss", std::numeric_limits<double>::infinity());
  const ModelVersion first = run.register_model("mnist-cnn", "outputs/net.safetensors");
  CHECK(first.name == "mnist-cnn");
  CHECK(first.id == "mnist-cnn:1");
  CHECK(first.version == 1);
  CHECK(first.run_id == run.id());
  CHECK(first.sha256 == sha256_hex(std::string("weights")));
  CHECK(first.metrics == Pairs{{"accuracy", "0.99"}, {"loss", "Infinity"}});
  CHECK(read_file(first.path) == "weights");
  CHECK(run.register_model("mnist-cnn", "net.safetensors").version == 2);
  CHECK(run.register_model("mnist-cnn", run.outputs() + "/net.safetensors").version == 3);
  write_file(folder / "elsewhere", "x");
  for (const std::string& path : {std::string("never-written"), folder / "elsewhere", std::string("../run.json"),
                                  std::string("run.json"), std::string()})
    CHECK(message_of<UsageError>([&] {
            (void)run.register_model("mnist-cnn", path);
          }).find("outputs/net.safetensors") != std::string::npos);
  run.complete();
  CHECK(run.register_model("mnist-cnn", "net.safetensors").version == 4);

  Registry registry(folder / "models");
  CHECK(registry.names() == std::vector<std::string>{"mnist-cnn"});
  CHECK(registry.versions("mnist-cnn").size() == 4);
  CHECK(registry.get("mnist-cnn").version == 4);
  CHECK(registry.get("mnist-cnn", "2").id == "mnist-cnn:2");
  registry.set_alias("mnist-cnn", "best", 2);
  registry.set_alias("mnist-cnn", "stable", 2);
  CHECK(registry.get("mnist-cnn", "best").aliases == std::vector<std::string>{"best", "stable"});
  registry.set_alias("mnist-cnn", "best", 3);
  CHECK(registry.get("mnist-cnn", "best").version == 3);
  CHECK(registry.get("mnist-cnn", "1").metrics == first.metrics);
  CHECK(registry.get("mnist-cnn", "1").path == first.path);
  registry.remove_alias("mnist-cnn", "best");
  CHECK(message_of<UsageError>([&] { (void)registry.get("mnist-cnn", "best"); }).find("'stable' (2)") !=
        std::string::npos);
  CHECK_THROWS_AS(registry.remove_alias("mnist-cnn", "best"), UsageError);
  CHECK_THROWS_AS(registry.set_alias("mnist-cnn", "x", 9), UsageError);
  CHECK_THROWS_AS(registry.set_alias("mnist-cnn", "12", 1), UsageError);
  CHECK(message_of<UsageError>([&] { (void)registry.get("other"); }).find("mnist-cnn") != std::string::npos);
  CHECK_THROWS_AS(registry.register_model("", folder / "elsewhere"), UsageError);
  CHECK_THROWS_AS(registry.register_model("x", folder / "absent"), IoError);
  CHECK(registry.register_model("own", folder / "elsewhere").run_id.empty());
  const test::Env env("TENON_MODELS", (folder / "models").c_str());
  CHECK(Registry().get("own").id == "own:1");
}

TEST_CASE("a name of the run comes before one in outputs/, and both before a path", "[track][registry]") {
  const TempFolder folder;
  Run run = Experiment("names", {folder / "runs"}).start_run();
  std::filesystem::create_directory(run.outputs() + "/outputs");
  write_file(run.outputs() + "/a", "outer");
  write_file(run.outputs() + "/outputs/a", "inner");
  run.complete();
  const RunView view = RunView::open(run.folder());
  const std::string copy = folder / "copy";
  for (const auto& [name, content] : Pairs{{"outputs/a", "outer"},
                                           {"a", "outer"},
                                           {"outputs/outputs/a", "inner"},
                                           {run.outputs() + "/outputs/a", "inner"},
                                           {run.outputs() + "/../outputs/a", "outer"}}) {
    view.download_file(name, copy);
    CHECK(read_file(copy) == content);
    CHECK(read_file(run.register_model("m", name).path) == content);
  }
}

TEST_CASE("8 processes register 100 versions each: dense and unique", "[track][registry]") {
  const TempFolder folder;
  const std::string models = folder / "models", file = folder / "model.bin";
  write_file(file, "weights");
  std::vector<pid_t> children;
  const auto began = std::chrono::steady_clock::now();
  for (int p = 0; p < 8; ++p)
    children.push_back(child([&, p] {
      Registry registry(models);
      std::string ids;
      for (int i = 0; i < 100; ++i) ids += registry.register_model("m <&>/..", file).id + "\n";
      write_file(folder / fmt::format("ids{}", p), ids);
    }));
  for (const pid_t pid : children) CHECK(wait_for(pid) == 0);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  std::set<std::string> ids;
  std::size_t lines = 0;
  for (int p = 0; p < 8; ++p) {
    std::ifstream in(folder / fmt::format("ids{}", p));
    for (std::string line; std::getline(in, line); ++lines) ids.insert(line);
  }
  CHECK(lines == 800);
  CHECK(ids.size() == 800);
  const std::vector<ModelVersion> versions = Registry(models).versions("m <&>/..");
  REQUIRE(versions.size() == 800);
  for (std::size_t i = 0; i < 800; ++i) {
    REQUIRE(versions[i].version == static_cast<std::int64_t>(i + 1));
    REQUIRE(ids.count(versions[i].id) == 1);
    REQUIRE(read_file(versions[i].path) == "weights");
  }
  fmt::print("800 versions by 8 processes: {:.2f} s\n", seconds.count());
}
