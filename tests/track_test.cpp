// Run tracking, line by line of its header: what is logged comes back, from the same process and from the folder alone.
#include "tenon/track.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"
#include "tests/support/message_of.hpp"

using namespace tenon;
using namespace tenon::track;
using test::message_of;
using test::read_file;
using test::TempFolder;
using test::write_file;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

std::string value_of(const Pairs& pairs, const std::string& name) {
  for (const auto& [n, value] : pairs)
    if (n == name) return value;
  return "nothing";
}

std::vector<std::int64_t> steps_of(const Metric& metric) {
  std::vector<std::int64_t> steps;
  for (const Point& point : metric.points) steps.push_back(point.step);
  return steps;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}

}  // namespace

TEST_CASE("a run's metrics come back, scalars and lists", "[track]") {
  const TempFolder folder;
  Run run = Experiment("mnist", {folder / "runs"}).start_run({.name = "first"});
  run.log("accuracy", 0.5);
  run.log("accuracy", 0.75);
  run.log("accuracy", 0.99, 10);
  run.log("accuracy", 0.995);  // the fourth value
  run.log("Loss", std::vector<double>{3, 2, 1});
  run.log("Loss", std::vector<double>{0.5});
  run.log("Loss", std::vector<double>{});
  run.log("late", 1, 100);
  run.log("late", std::vector<double>{2, 3});

  for (const std::vector<Metric>& metrics : {run.get_metrics(), RunView::open(run.id(), folder / "runs").metrics}) {
    REQUIRE(metrics.size() == 3);
    CHECK(metrics[0].name == "accuracy");
    CHECK(metrics[0].values() == std::vector<double>{0.5, 0.75, 0.99, 0.995});
    CHECK(metrics[0].last() == 0.995);
    CHECK(steps_of(metrics[0]) == std::vector<std::int64_t>{0, 1, 10, 3});
    CHECK(metrics[1].name == "Loss");
    CHECK(metrics[1].values() == std::vector<double>{3, 2, 1, 0.5});
    CHECK(steps_of(metrics[1]) == std::vector<std::int64_t>{0, 1, 2, 3});
    CHECK(steps_of(metrics[2]) == std::vector<std::int64_t>{100, 101, 102});
  }
  const RunView view = RunView::open(run.folder());
  CHECK(view.metric("Loss")->points.size() == 4);
  CHECK(view.metric("loss") == nullptr);
  CHECK(&view.get_metrics() == &view.metrics);
  CHECK(std::isnan(Metric{}.last()));
  run.complete();
}

TEST_CASE("every bit of a number comes back", "[track]") {
  const TempFolder folder;
  Run run = Experiment("numbers", {folder / "runs"}).start_run();
  std::vector<double> values{0.0,
                             -0.0,
                             0.1,
                             1.0 / 3,
                             inf,
                             -inf,
                             5e-324,
                             1.7976931348623157e308,
                             9007199254740993.0,
                             1.8446744073709552e19,
                             -9.223372036854775808e18,
                             1e20,
                             1e22,
                             123456789012345680.0};
  std::uint64_t state = 42;
  for (int i = 0; i < 20000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = std::bit_cast<double>(state);
    if (std::isfinite(value)) values.push_back(value);
  }
  run.log("list", values);
  for (const double value : values) run.log("scalar", value);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Run::Value value{"block", values[i]};
    run.log_steps(static_cast<std::int64_t>(i), {&value, 1});
  }
  run.log("nan", not_a_number);
  run.log("nan", std::vector<double>{1, -not_a_number, inf});
  const std::vector<Metric> metrics = run.get_metrics();
  REQUIRE(metrics.size() == 4);
  for (int i = 0; i < 3; ++i) CHECK(same_bits(metrics[static_cast<std::size_t>(i)].values(), values));
  const std::vector<double> nan = metrics[3].values();
  REQUIRE(nan.size() == 4);
  CHECK((std::isnan(nan[0]) && nan[1] == 1 && std::isnan(nan[2]) && nan[3] == inf));
  // Every line is JSON as the standard has it.
  std::string line;
  std::ifstream log(run.folder() + "/log.jsonl");
  while (std::getline(log, line)) REQUIRE(nlohmann::json::accept(line));
}

TEST_CASE("values of steps come in blocks of 64, null where a step lacks one", "[track]") {
  const TempFolder folder;
  Run run = Experiment("blocks", {folder / "runs"}).start_run();
  for (std::int64_t step = 0; step < 100; ++step) {
    const Run::Value both[] = {{"loss", 1.0 / static_cast<double>(step + 1)}, {"lr", 0.1}};
    run.log_steps(step, step % 2 == 0 ? std::span(both) : std::span(both).first(1));
  }
  const auto lines = [&] {
    const std::string text = read_file(run.folder() + "/log.jsonl");
    return std::count(text.begin(), text.end(), '\n');
  };
  CHECK(lines() <= 100 / 64 + 1);  // one more where a block took 200 ms
  run.flush();
  CHECK(lines() <= 3);
  run.flush();
  CHECK(lines() <= 3);
  RunView view = RunView::open(run.folder());
  REQUIRE(view.metric("loss")->points.size() == 100);
  REQUIRE(view.metric("lr")->points.size() == 50);
  CHECK(view.metric("lr")->points[49].step == 98);
  CHECK(view.metric("loss")->points[99].value == 0.01);

  // The same step again with other names goes on; with the same name, or after a gap, a new line begins.
  const Run::Value a{"a", 1}, b{"b", 2}, twice[] = {{"c", 3}, {"c", 4}};
  run.log_steps(7, {&a, 1});
  run.log_steps(7, {&b, 1});
  run.log_steps(7, {&a, 1});
  run.log_steps(20, {&a, 1});
  run.log_steps(std::numeric_limits<std::int64_t>::max(), {&a, 1});
  run.log_steps(std::numeric_limits<std::int64_t>::min(), {&a, 1});
  run.log_steps(5, twice);
  run.log("a", 9);  // after the values of its block
  CHECK(view.refresh());
  CHECK(steps_of(*view.metric("a")) == std::vector<std::int64_t>{7, 7, 20, std::numeric_limits<std::int64_t>::max(),
                                                                 std::numeric_limits<std::int64_t>::min(), 5});
  CHECK(view.metric("a")->last() == 9);
  CHECK(view.metric("b")->values() == std::vector<double>{2});
  CHECK(view.metric("c")->values() == std::vector<double>{3, 4});
  CHECK_FALSE(view.refresh());
}

TEST_CASE("a block is written after 200 ms", "[track]") {
  const TempFolder folder;
  Run run = Experiment("slow", {folder / "runs"}).start_run();
  const Run::Value value{"loss", 1};
  run.log_steps(0, {&value, 1});
  CHECK(RunView::open(run.folder()).metrics.empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(210));
  run.log_steps(1, {&value, 1});
  CHECK(RunView::open(run.folder()).metric("loss")->points.size() == 2);
}

TEST_CASE("a run says how, where and with what it began", "[track]") {
  const TempFolder folder;
  Run run = Experiment("facts", {folder / "runs"})
                .start_run({.name = "a name",
                            .params = {{"lr", "0.1"}, {"batch", "64"}, {"lr", "0.2"}},
                            .tags = {{"host", "mine"}},
                            .environment = {{"device", "cpu"}, {"seed", "7"}},
                            .command_line = {"train", "--epochs", "3 4"}});
  run.log_params({{"epochs", "12"}, {"batch", "128"}});
  run.tag("kind", "test");
  run.tag("kind", "other");
  const RunView view = RunView::open(run.folder());
  CHECK(view.id == run.id());
  CHECK(view.name == "a name");
  CHECK(view.experiment == "facts");
  CHECK(view.params == Pairs{{"lr", "0.2"}, {"batch", "128"}, {"epochs", "12"}});
  CHECK(view.tags == Pairs{{"host", "mine"}, {"kind", "other"}});
  CHECK(value_of(view.environment, "device") == "cpu");
  CHECK(value_of(view.environment, "seed") == "7");
  CHECK(value_of(view.environment, "cores") == std::to_string(std::thread::hardware_concurrency()));
  CHECK(value_of(view.environment, "working_folder") == std::filesystem::current_path().string());
  CHECK(view.command_line == std::vector<std::string>{"train", "--epochs", "3 4"});
  CHECK(view.status == Status::running);
  CHECK(view.ended == 0);
  CHECK(view.started > 1'700'000'000'000);
  const Run other = Experiment("facts", {folder / "runs"}).start_run();
  CHECK(RunView::open(other.folder()).command_line.at(0).find("track_test") != std::string::npos);
}

TEST_CASE("files are captured with size and SHA-256, and downloads are verified", "[track]") {
  const TempFolder folder;
  Run run = Experiment("files", {folder / "runs"}).start_run();
  write_file(run.outputs() + "/model.bin", "weights");
  std::filesystem::create_directories(run.outputs() + "/deep/er");
  write_file(run.outputs() + "/deep/er/x", "");
  write_file(folder / "report 1.txt", "text");
  run.add_file(folder / "report 1.txt");
  CHECK(::symlink("/etc/hostname", (run.outputs() + "/link").c_str()) == 0);
  CHECK(::mkfifo((run.outputs() + "/pipe").c_str(), 0600) == 0);
  const std::vector<std::string> names = run.get_file_names();
  REQUIRE(names.size() == 3);
  CHECK(names[0] == "outputs/deep/er/x");
  CHECK(names[1] == "outputs/model.bin");
  CHECK(names[2].starts_with("outputs/report_1-"));
  CHECK(names[2].ends_with(".txt"));
  CHECK(RunView::open(run.folder()).files().size() == 3);
  run.complete();

  write_file(run.outputs() + "/later", "not of the run");
  const RunView view = RunView::open(run.folder());
  CHECK(view.get_file_names() == names);
  const std::vector<FileEntry> files = view.files();
  REQUIRE(files.size() == 3);
  CHECK(files[1].name == "outputs/model.bin");
  CHECK(files[1].bytes == 7);
  CHECK(files[1].sha256 == sha256_hex(std::string("weights")));
  view.download_file("outputs/model.bin", folder / "copy");
  CHECK(read_file(folder / "copy") == "weights");
  const std::string message = message_of<UsageError>([&] { view.download_file("outputs/../run.json", folder / "no"); });
  CHECK(message.find("outputs/model.bin") != std::string::npos);
  write_file(run.outputs() + "/model.bin", "changed");
  CHECK(message_of<IoError>([&] { view.download_file("outputs/model.bin", folder / "bad"); }).find("SHA-256") !=
        std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "bad"));
}

TEST_CASE("a run ends once", "[track]") {
  const TempFolder folder;
  Experiment experiment("ends", {folder / "runs"});
  Run run = experiment.start_run();
  run.log("x", 1);
  run.complete();
  run.complete();
  run.fail("too late");
  CHECK(message_of<UsageError>([&] { run.log("x", 2); }).find("has ended") != std::string::npos);
  CHECK_THROWS_AS(run.log_params({}), UsageError);
  const RunView view = RunView::open(run.id(), folder / "runs");
  CHECK(view.status == Status::completed);
  CHECK(view.ended >= view.started);
  CHECK(view.metric("x")->values() == std::vector<double>{1});

  Run failing = experiment.start_run();
  failing.fail("loss is <nan>\n");
  CHECK(RunView::open(failing.id(), folder / "runs").reason == "loss is <nan>\n");
  std::string left;
  {
    Run open = experiment.start_run();
    left = open.id();
    Run moved = std::move(open);
    moved.log("x", 1);
  }
  CHECK(RunView::open(left, folder / "runs").status == Status::failed);
  CHECK_FALSE(RunView::open(left, folder / "runs").reason.empty());
  Run replaced = experiment.start_run();
  const std::string first = replaced.id();
  replaced = experiment.start_run();
  CHECK(RunView::open(first, folder / "runs").status == Status::failed);
  CHECK(RunView::open(replaced.id(), folder / "runs").status == Status::running);
  for (const Status status : {Status::running, Status::completed, Status::failed, Status::crashed})
    CHECK(name_of(status).size() > 5);
}

TEST_CASE("runs are found by id, by prefix and by folder, and removed", "[track]") {
  const TempFolder folder;
  const std::string root = folder / "runs";
  Experiment one("one", {root}), two("two", {root});
  CHECK(one.runs().empty());
  CHECK(RunView::all(root).empty());
  Run a = one.start_run();
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  Run b = one.start_run();
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  Run c = two.start_run();
  CHECK(one.runs() == std::vector<std::string>{a.id(), b.id()});
  CHECK(one.folder() == root + "/one");
  CHECK(one.name() == "one");
  const std::vector<RunView> all = RunView::all(root);
  REQUIRE(all.size() == 3);
  CHECK((all[0].id == a.id() && all[1].id == b.id() && all[2].id == c.id()));
  CHECK(a.id().size() == 22);

  CHECK(RunView::open(c.folder()).id == c.id());
  CHECK(RunView::open(c.id(), root).experiment == "two");
  CHECK(message_of<UsageError>([&] { (void)RunView::open("2", root); }).find("more than one") != std::string::npos);
  CHECK(message_of<UsageError>([&] { (void)RunView::open("nope", root); }).find(a.id()) != std::string::npos);
  CHECK_THROWS_AS(RunView::open("", root), UsageError);

  CHECK(message_of<UsageError>([&] { remove_run(RunView::open(a.id(), root)); }).find("running") != std::string::npos);
  a.complete();
  const RunView gone = RunView::open(a.id(), root);
  remove_run(gone);
  CHECK_FALSE(std::filesystem::exists(a.folder()));
  CHECK_THROWS_AS(remove_run(gone), UsageError);
  CHECK(one.runs() == std::vector<std::string>{b.id()});
  const test::Env env("TENON_RUNS", root.c_str());
  CHECK(RunView::open(c.id()).id == c.id());
  CHECK(Experiment("one").folder() == one.folder());
}

TEST_CASE("a view follows a run that another writes", "[track]") {
  const TempFolder folder;
  Run run = Experiment("live", {folder / "runs"}).start_run();
  RunView view = RunView::open(run.folder());
  CHECK_FALSE(view.refresh());
  for (int i = 0; i < 10; ++i) {
    run.log("x", i);
    CHECK(view.refresh());
    REQUIRE(view.metric("x")->points.size() == static_cast<std::size_t>(i + 1));
  }
  run.complete();
  CHECK(view.refresh());
  CHECK(view.status == Status::completed);
  CHECK_FALSE(view.refresh());
}

TEST_CASE("what makes no sense is refused", "[track]") {
  const TempFolder folder;
  CHECK_THROWS_AS(Experiment(""), UsageError);
  CHECK_THROWS_AS(Experiment(std::string(4097, 'x')), UsageError);
  Run run = Experiment("x", {folder / "runs"}).start_run();
  CHECK_THROWS_AS(run.log("", 1), UsageError);
  CHECK_THROWS_AS(run.add_file("folder/"), UsageError);
  const std::vector<std::string> labels{"a", "b"};
  CHECK_THROWS_AS(run.log_confusion("c", labels, std::vector<std::int64_t>{1, 2, 3}), UsageError);
  write_file(folder / "file", "");
  CHECK_THROWS_AS(Experiment("x", {folder / "file"}).start_run(), IoError);
}
