// Training that writes itself down: every minibatch and every epoch reach the run's folder, as the trainer reported them.
#include "tenon/track_hook.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

#include "tenon/hooks.hpp"
#include "tenon/tenon.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using test::TempFolder;
using track::Experiment;
using track::Run;
using track::RunView;
using track::Status;

namespace {

Dataset points(std::int64_t n, float scale = 1) {
  Array x(DType::f32, {n, 4}), y(DType::i32, {n});
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < 4; ++k)
      x.values<float>()[static_cast<std::size_t>(4 * i + k)] = scale * (i % 3 == k ? 1.f : 0.1f);
    y.values<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % 3);
  }
  return {x, y};
}

Trainer trainer(float lr = 0.5f) {
  return {nn::Sequential{nn::Dense{.units = 3}},
          {.loss = softmax_crossentropy, .optimizer = Sgd{.lr = lr}, .metrics = {{.criterion = accuracy}}}};
}

}  // namespace

TEST_CASE("every minibatch and every epoch of a training are in the run", "[track]") {
  const TempFolder folder;
  Run run = Experiment("hook", {folder / "runs"}).start_run();
  const Dataset data = points(300);
  Recorder recorder;
  TrackHook hook(run);
  Trainer t = trainer();
  LrSchedule schedule([](std::int32_t epoch) { return 0.5f / static_cast<float>(epoch + 1); });
  const History history = t.fit(
      data, {.batch_size = 7, .epochs = 4, .validation = data.slice(0, 30), .hooks = {&recorder, &hook, &schedule}});
  const RunView view = RunView::open(run.id(), folder / "runs");
  CHECK(view.status == Status::completed);
  REQUIRE(recorder.losses.size() == 4 * 43);
  CHECK(view.metric("step/loss")->values() == recorder.losses);
  CHECK(view.metric("step/accuracy")->values() == recorder.metric("accuracy"));
  const std::vector<track::Point>& rates = view.metric("step/lr")->points;
  REQUIRE(rates.size() == 4 * 43);
  for (std::size_t i = 0; i < rates.size(); ++i) {
    REQUIRE(rates[i].step == static_cast<std::int64_t>(i));
    REQUIRE(rates[i].value == static_cast<double>(0.5f / static_cast<float>(i / 43 + 1)));
  }
  for (const char* name : {"loss", "accuracy", "val_loss", "val_accuracy"}) {
    REQUIRE(view.metric(std::string("epoch/") + name) != nullptr);
    CHECK(view.metric(std::string("epoch/") + name)->values() == history[name]);
  }
  REQUIRE(view.metric("epoch/seconds")->points.size() == 4);
  for (std::size_t e = 0; e < 4; ++e) {
    const double seconds = view.metric("epoch/seconds")->points[e].value;
    CHECK(view.metric("epoch/seconds")->points[e].step == static_cast<std::int64_t>(e));
    CHECK(seconds == history.epochs[e].seconds);
    CHECK(view.metric("epoch/examples_per_second")->points[e].value == 300 / seconds);
  }
  CHECK(view.params == track::Pairs{{"epochs", "4"}, {"steps_per_epoch", "43"}});
}

TEST_CASE("a training that is halted fails its run, with the reason", "[track]") {
  const TempFolder folder;
  Run run = Experiment("hook", {folder / "runs"}).start_run();
  TrackHook hook(run);
  Trainer t = trainer();
  const History history =
      t.fit(points(60, std::numeric_limits<float>::infinity()), {.batch_size = 6, .epochs = 2, .hooks = {&hook}});
  REQUIRE(history.summary.halted);
  const RunView view = RunView::open(run.folder());
  CHECK(view.status == Status::failed);
  CHECK(view.reason == history.summary.reason);
  REQUIRE(view.metric("step/loss") != nullptr);
  CHECK_FALSE(std::isfinite(view.metric("step/loss")->last()));
}

TEST_CASE("a run goes on after the training where the program asks for that", "[track]") {
  const TempFolder folder;
  Run run = Experiment("hook", {folder / "runs"}).start_run();
  TrackHook hook(run, {.end_run = false});
  EarlyStopping stop({.monitor = "accuracy"});
  Trainer t = trainer();
  const History history = t.fit(points(60), {.batch_size = 6, .epochs = 50, .hooks = {&hook, &stop}});
  REQUIRE(history.summary.stopped_early);
  run.log("test/accuracy", t.evaluate(points(60))["accuracy"]);
  run.complete();
  const RunView view = RunView::open(run.folder());
  CHECK(view.status == Status::completed);
  CHECK(view.metric("test/accuracy")->points.size() == 1);
  CHECK(view.metric("step/loss")->points.size() == static_cast<std::size_t>(history.summary.steps));
  REQUIRE(view.tags.size() == 1);
  CHECK(view.tags[0] == std::pair<std::string, std::string>("stopped_early", history.summary.reason));
}

TEST_CASE("what logging a minibatch costs", "[track][speed]") {
  const TempFolder folder;
  Run run = Experiment("cost", {folder / "runs"}).start_run();
  TrackHook hook(run);
  TrainControl control;
  const std::vector<NamedValue> metrics{{"accuracy", 0.9}};
  const int count = 100'000;
  const auto from = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    const StepRecord record{i, 0, 128, 1.0 / (i + 1), metrics, 0.1f};
    hook.on_steps({&record, 1}, control);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - from;
  run.complete();
  CHECK(RunView::open(run.folder()).metric("step/accuracy")->points.size() == count);
  std::printf("a minibatch with 3 values: %.2f us\n", seconds.count() / count * 1e6);
  CHECK(seconds.count() / count < 100e-6);  // 1 % of a step of 10 ms
}
