// What tracking promises when things go wrong: killed processes, torn lines, full disks, damaged logs, many writers.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <functional>
#include <set>
#include <thread>

#include "tenon/error.hpp"
#include "tenon/log.hpp"
#include "tenon/track.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::track;
using test::child;
using test::read_file;
using test::TempFolder;
using test::wait_for;
using test::write_file;

namespace {

/// Appends bytes, as a damaged disk or a crash in the middle of a write would leave them.
void append(const std::string& path, const std::string& bytes) { write_file(path, read_file(path) + bytes); }

/// Seconds: of the clock on the wall, and of the processor, for this process and for the system on its behalf.
struct Spent {
  double wall = 0, processor = 0;
  [[nodiscard]] std::string text() const { return fmt::format("{:.2f} ({:.2f})", wall, processor); }
};
template <class F>
Spent spent_on(F&& work) {
  const auto from = std::chrono::steady_clock::now();
  const std::clock_t begun = std::clock();
  work();
  const double processor = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count(), processor};
}

}  // namespace

TEST_CASE("a killed run loses at most its last block and is closed by the next start", "[track][crash]") {
  const TempFolder folder;
  const int rounds = 200;
  std::int64_t lost_scalars = 0, lost_steps = 0, written = 0;
  for (int round = 0; round < rounds; ++round) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    Experiment experiment("killed", {folder / fmt::format("runs{}", round)});
    const pid_t pid = child([&] {
      Run run = experiment.start_run();
      write_file(run.outputs() + "/partial.bin", "abc");
      for (std::int64_t i = 0;; ++i) {
        const bool alone = i % 200 <= 100;
        if (alone) run.log("scalar", static_cast<double>(i));
        // The parent learns only of what has been returned from.
        if (::write(pipe_ends[1], &i, sizeof i) != sizeof i) ::_exit(1);
        const Run::Value value{"step", static_cast<double>(i)};
        if (!alone) run.log_steps(i, {&value, 1});
      }
    });
    ::close(pipe_ends[1]);
    std::int64_t last = -1, seen = 0;
    const std::int64_t until = 20 + round * 7;
    while (last < until) REQUIRE(::read(pipe_ends[0], &last, sizeof last) == sizeof last);
    ::kill(pid, SIGKILL);
    while (::read(pipe_ends[0], &seen, sizeof seen) == sizeof seen) last = seen;
    ::close(pipe_ends[0]);
    CHECK(WIFSIGNALED(wait_for(pid)));

    const std::vector<std::string> ids = experiment.runs();
    REQUIRE(ids.size() == 1);
    RunView view = RunView::open(experiment.folder() + "/" + ids[0]);
    CHECK(view.status == Status::crashed);
    CHECK(view.ended == view.last_written);
    const Metric* scalar = view.metric("scalar");
    REQUIRE(scalar != nullptr);
    // What was logged up to the last word of the child: of every 200 values the first 101 alone, the others in blocks.
    std::int64_t scalars = 0, steps = 0;
    for (std::int64_t i = 0; i <= last; ++i) scalars += i % 200 <= 100 ? 1 : 0;
    for (std::int64_t i = 0; i < last; ++i) steps += i % 200 > 100 ? 1 : 0;
    for (std::size_t i = 0; i < scalar->points.size(); ++i)
      REQUIRE(scalar->points[i].value == static_cast<double>(i / 101 * 200 + i % 101));
    const Metric* step = view.metric("step");
    const std::size_t kept = step == nullptr ? 0 : step->points.size();
    for (std::size_t i = 0; i < kept; ++i) {
      REQUIRE(step->points[i].value == static_cast<double>(i / 99 * 200 + 101 + i % 99));
      REQUIRE(step->points[i].step == static_cast<std::int64_t>(step->points[i].value));
    }
    lost_scalars = std::max(lost_scalars, scalars - static_cast<std::int64_t>(scalar->points.size()));
    lost_steps = std::max(lost_steps, steps - static_cast<std::int64_t>(kept));
    written += last;

    const Run next = experiment.start_run();
    CHECK(view.refresh());
    CHECK(view.status == Status::crashed);
    CHECK(read_file(view.folder + "/log.jsonl").ends_with("\"status\":\"crashed\"}\n"));
    CHECK(std::filesystem::exists(view.folder + "/manifest.json"));
    REQUIRE(view.files().size() == 1);
    CHECK(view.files()[0].bytes == 3);
    CHECK(view.ended < RunView::open(next.folder()).started + 1);
  }
  CHECK(lost_scalars <= 0);
  CHECK(lost_steps <= 64);
  fmt::print("{} killed runs, {} iterations: at most {} scalars and {} steps lost\n", rounds, written, lost_scalars,
             lost_steps);
}

TEST_CASE("a torn last line is passed over, and the line after it is whole", "[track][crash]") {
  const TempFolder folder;
  Experiment experiment("torn", {folder / "runs"});
  std::string log;
  const pid_t pid = child([&] {
    Run run = experiment.start_run();
    run.log("x", 1);
    run.log("x", 2);
    ::_exit(7);
  });
  CHECK(WEXITSTATUS(wait_for(pid)) == 7);
  const std::string run = experiment.folder() + "/" + experiment.runs().at(0), path = run + "/log.jsonl";
  const std::string whole = read_file(path);
  const std::string last = "{\"t\":1,\"name\":\"x\",\"step\":2,\"value\":33}\n";
  for (std::size_t cut = 1; cut < last.size(); ++cut) {
    write_file(path, whole + last.substr(0, cut));
    const RunView view = RunView::open(run);
    REQUIRE(view.metric("x")->values() == std::vector<double>{1, 2});
  }
  write_file(path, whole + last.substr(0, 20));
  const Run next = experiment.start_run();
  const RunView view = RunView::open(run);
  CHECK(view.status == Status::crashed);
  CHECK(view.metric("x")->values() == std::vector<double>{1, 2});
}

TEST_CASE("a run that another process writes is neither closed nor removed", "[track][crash]") {
  const TempFolder folder;
  Experiment experiment("alive", {folder / "runs"});
  int ready[2], leave[2];
  REQUIRE((::pipe(ready) == 0 && ::pipe(leave) == 0));
  const pid_t pid = child([&] {
    Run run = experiment.start_run();
    char byte = 'x';
    if (::write(ready[1], &byte, 1) != 1 || ::read(leave[0], &byte, 1) != 1) ::_exit(1);
    run.log("x", 1);
    run.complete();
  });
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const std::string id = experiment.runs().at(0);
  const Run mine = experiment.start_run();
  RunView view = RunView::open(id, folder / "runs");
  CHECK(view.status == Status::running);
  CHECK_THROWS_AS(remove_run(view), UsageError);
  REQUIRE(::write(leave[1], &byte, 1) == 1);
  CHECK(wait_for(pid) == 0);
  CHECK(view.refresh());
  CHECK(view.status == Status::completed);
  for (const int end : {ready[0], ready[1], leave[0], leave[1]}) ::close(end);
}

TEST_CASE("a full disk is one warning, and what fits into 1 MiB is written later", "[track][crash]") {
  const TempFolder folder;
  const pid_t pid = child([&] {
    // A limit on file sizes fails a write as a full disk does, and can be raised again.
    ::signal(SIGXFSZ, SIG_IGN);
    std::vector<std::string> warnings;
    set_log([&](LogLevel, const std::string& text) { warnings.push_back(text); });
    rlimit limit{};
    const auto set_limit = [&](rlim_t most) {
      ::getrlimit(RLIMIT_FSIZE, &limit);
      limit.rlim_cur = most;
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    };
    Run run = Experiment("full", {folder / "runs"}).start_run();
    run.log("x", 0);
    const std::string log = run.folder() + "/log.jsonl";
    set_limit(std::filesystem::file_size(log) + 70);  // a line and a part of one
    for (int i = 1; i < 1000; ++i) run.log("x", i);
    if (warnings.size() != 1 || warnings[0].find("log.jsonl") == std::string::npos) ::_exit(3);
    set_limit(limit.rlim_max);
    run.log("x", 1000);
    const std::vector<double> values = run.get_metrics().at(0).values();
    if (values.size() != 1001) ::_exit(4);
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] != static_cast<double>(i)) ::_exit(5);
    // More than 1 MiB is lost, from the newest on, and the log says so.
    set_limit(std::filesystem::file_size(log) + 70);
    for (int i = 0; i < 100'000; ++i) run.log("y", i);
    set_limit(limit.rlim_max);
    run.log("z", 1);
    run.complete();
    const RunView view = RunView::open(run.folder());
    const std::size_t kept = view.metric("y")->points.size();
    if (kept < 10'000 || kept > 40'000) ::_exit(6);
    for (std::size_t i = 0; i < kept; ++i)
      if (view.metric("y")->points[i].value != static_cast<double>(i)) ::_exit(7);
    if (view.metric("z") == nullptr || view.status != Status::completed) ::_exit(8);
    if (read_file(log).find("{\"lost\":") == std::string::npos) ::_exit(9);

    Run strict = Experiment("full", {folder / "runs"}).start_run({.strict = true});
    set_limit(10);
    try {
      strict.log("x", 1);
    } catch (const IoError&) {
      set_limit(limit.rlim_max);
      ::_exit(0);
    }
    ::_exit(10);
  });
  const int status = wait_for(pid);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("whatever is in a log, reading it ends with a view", "[track][crash]") {
  const TempFolder folder;
  Run run = Experiment("damaged", {folder / "runs"}).start_run();
  run.log("x", 1);
  const std::string path = run.folder() + "/log.jsonl";
  append(path,
         "\n\n{}\n[]\nnull\n{\"t\":\"late\"}\n{\"name\":3,\"value\":1}\n{\"t\":1,\"name\":\"x\",\"step\":1e9,"
         "\"value\":\"many\"}\n{\"series\":{\"x\":3}}\n{\"series\":[1]}\n{\"params\":[],\"tags\":{\"a\":1}}\n");
  append(path,
         "{\"image\":{\"name\":\"x\",\"file\":\"../../etc/passwd\"}}\n{\"image\":{\"file\":\"images/../run.json\"}}\n");
  append(path,
         "{\"confusion\":{\"labels\":[],\"counts\":[]}}\n{\"confusion\":{\"labels\":[\"a\"],\"counts\":[1,2]}}\n");
  append(path, "{\"status\":\"strange\"}\n{\"status\":3}\n{\"t\":1,\"name\":\"x\",\"step\":1,\"value\":nan}\n");
  append(path, std::string(100'000, '[') + "\n" + std::string(3, '\0') + "\n\xff\xfe\n");
  append(path,
         "{\"t\":1,\"name\":\"x\",\"step\":9223372036854775807,\"values\":[1,2,null,\"NaN\"],\"more\":{\"a\":[]}}\n");
  run.log("x", 5);
  const RunView view = RunView::open(run.folder());
  CHECK(view.status == Status::running);
  CHECK(view.images.empty());
  CHECK(view.confusions.empty());
  CHECK(view.params.empty());
  REQUIRE(view.metric("x") != nullptr);
  REQUIRE(view.metric("x")->points.size() == 5);
  CHECK(view.metric("x")->points[2].step == std::numeric_limits<std::int64_t>::min());
  CHECK(view.metric("x")->last() == 5);

  // Random damage of a log with a line of every kind.
  run.log_params({{"a", "b"}});
  run.log_confusion("c", std::vector<std::string>{"l"}, std::vector<std::int64_t>{1});
  run.log_image("i", std::vector<std::uint8_t>(1), 1, 1, 1);
  const Run::Value value{"s", 1};
  run.log_steps(1, {&value, 1});
  run.complete();
  const std::string good = read_file(path).substr(0, 100) + read_file(path).substr(read_file(path).size() - 900);
  std::uint32_t state = 7;
  const auto draw = [&](std::size_t below) {
    state = state * 1664525u + 1013904223u;
    return static_cast<std::size_t>(state >> 8) % below;
  };
  std::size_t with_points = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    for (std::size_t n = 1 + draw(8); n > 0; --n) bad[draw(bad.size())] = static_cast<char>(draw(256));
    write_file(path, bad);
    const RunView damaged = RunView::open(run.folder());
    with_points += damaged.metrics.empty() ? 0u : 1u;
  }
  CHECK(with_points > 2000);
}

TEST_CASE("runs that start together have folders of their own", "[track]") {
  const TempFolder folder;
  std::vector<pid_t> children;
  for (int p = 0; p < 8; ++p)
    children.push_back(child([&, p] {
      for (int i = 0; i < 10; ++i) {
        Run run = Experiment("many", {folder / "runs"}).start_run();
        run.log("who", p * 10 + i);
        run.complete();
      }
    }));
  for (const pid_t pid : children) CHECK(wait_for(pid) == 0);
  std::set<double> who;
  for (const RunView& view : RunView::all(folder / "runs")) {
    CHECK(view.status == Status::completed);
    REQUIRE(view.metrics.size() == 1);
    who.insert(view.metrics[0].last());
  }
  CHECK(who.size() == 80);
}

TEST_CASE("threads may share a run", "[track]") {
  const TempFolder folder;
  Run run = Experiment("threads", {folder / "runs"}).start_run();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&run, t] {
      const std::string own = fmt::format("metric {}", t);
      for (int i = 0; i < 1000; ++i) {
        run.log(own, i);
        run.log("shared", i);
        const Run::Value value{"block", 1};
        run.log_steps(i, {&value, 1});
      }
    });
  for (std::thread& thread : threads) thread.join();
  run.complete();
  const RunView view = RunView::open(run.folder());
  REQUIRE(view.metrics.size() == 6);
  CHECK(view.metric("shared")->points.size() == 4000);
  CHECK(view.metric("block")->points.size() == 4000);
  for (int t = 0; t < 4; ++t) {
    const std::vector<double> values = view.metric(fmt::format("metric {}", t))->values();
    REQUIRE(values.size() == 1000);
    for (std::size_t i = 0; i < 1000; ++i) REQUIRE(values[i] == static_cast<double>(i));
  }
  CHECK(view.metric("shared")->points.back().step == 3999);
}

TEST_CASE("a million calls of log take at most 2 s of the processor", "[track][speed]") {
  const TempFolder folder;
  Run run = Experiment("speed", {folder / "runs"}).start_run();
  const int count = 1'000'000;
  const Spent scalars = spent_on([&] {
    for (int i = 0; i < count; ++i) run.log("loss", 1.0 / (i + 1));
  });
  const Spent blocks = spent_on([&] {
    for (int i = 0; i < count / 4; ++i) {
      const Run::Value values[] = {{"a", 1.0 / (i + 1)}, {"b", 0.5}, {"c", 3.0}, {"d", 0.1}};
      run.log_steps(i, values);
    }
  });
  const Spent lists = spent_on([&] { run.log("list", std::vector<double>(count, 1.0 / 3)); });
  run.complete();
  RunView view;
  const Spent reading = spent_on([&] { view = RunView::open(run.folder()); });
  CHECK(view.metric("loss")->points.size() == count);
  CHECK(view.metric("a")->points.size() == count / 4);
  CHECK(view.metric("list")->points.size() == count);
  fmt::print(
      "1,000,000 values, seconds of the clock (of the processor): log {}, log_steps by fours {}, a list {}; "
      "reading all {}, {:.0f} MB\n",
      scalars.text(), blocks.text(), lists.text(), reading.text(),
      static_cast<double>(std::filesystem::file_size(run.folder() + "/log.jsonl")) / 1e6);
  // Other processes and the disk lengthen the clock's time, hardly the processor's.
#if defined(NDEBUG) && !defined(TENON_SANITIZED)
  CHECK(scalars.processor <= 2);
#endif
}
