// Hooks, fed with made-up records: the exact text that they print and write, and what they ask of the trainer.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tenon/error.hpp"
#include "tenon/hooks.hpp"
#include "tenon/log.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using test::read_file;
using test::TempFolder;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

// What a hook asked for is the trainer's to see. An explicit instantiation may name private members; this makes two of
// them readable here, so that hooks can be tested without a training run.
template <class Tag, typename Tag::type member>
struct Open {
  friend typename Tag::type opened(Tag) { return member; }
};
struct Stopped {
  using type = bool TrainControl::*;
  friend type opened(Stopped);
};
struct Reason {
  using type = std::string TrainControl::*;
  friend type opened(Reason);
};
struct Rate {
  using type = std::optional<float> TrainControl::*;
  friend type opened(Rate);
};
struct Save {
  using type = std::function<void(const std::string&)> TrainControl::*;
  friend type opened(Save);
};
template struct Open<Stopped, &TrainControl::stopped_>;
template struct Open<Reason, &TrainControl::reason_>;
template struct Open<Rate, &TrainControl::lr_>;
template struct Open<Save, &TrainControl::save_>;

bool stopped(const TrainControl& c) { return c.*opened(Stopped{}); }
std::string reason(const TrainControl& c) { return c.*opened(Reason{}); }

/// A FILE* that keeps what is written to it.
class Captured {
 public:
  Captured() : file_(std::tmpfile()) { REQUIRE(file_ != nullptr); }
  ~Captured() { std::fclose(file_); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  operator std::FILE*() const { return file_; }  // NOLINT: it is one
  [[nodiscard]] std::string text() const {
    std::string all(static_cast<std::size_t>(std::ftell(file_)), '\0');
    std::rewind(file_);
    REQUIRE(std::fread(all.data(), 1, all.size(), file_) == all.size());
    return all;
  }

 private:
  std::FILE* file_;
};

/// Collects the library's warnings.
class Warnings {
 public:
  Warnings() {
    set_log([this](LogLevel level, const std::string& text) {
      if (level == LogLevel::warning) lines.push_back(text);
    });
  }
  ~Warnings() { set_log({}); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;
  std::vector<std::string> lines;
};

EpochRecord epoch(std::int32_t e, double loss, double val_loss = 0.25) {
  return {.epoch = e,
          .epochs = 12,
          .steps = 469,
          .examples = 60000,
          .seconds = 5.2,
          .loss = loss,
          .metrics = {{"accuracy", 0.93125}},
          .validation_loss = val_loss,
          .validation_metrics = {{"accuracy", 0.5}},
          .learning_rate = 0.2f};
}

void steps(Hook& hook, std::int64_t first, int count, std::int32_t e, double loss, TrainControl& control,
           std::vector<NamedValue> metrics = {{"accuracy", 0.75}}) {
  std::vector<StepRecord> records;
  for (int i = 0; i < count; ++i) records.push_back({first + i, e, 128, loss, metrics, 0.2f});
  hook.on_steps(records, control);
}

}  // namespace

TEST_CASE("Keras' progress prints one line an epoch where there is no terminal", "[hooks]") {
  const Captured out;
  TrainControl control;
  KerasProgress progress(out, false);
  progress.on_begin(469, 12);
  steps(progress, 0, 300, 0, 1.0, control);
  steps(progress, 300, 169, 0, 1.0, control);
  progress.on_epoch(epoch(0, 0.2345), control);
  EpochRecord second = epoch(1, 0.00012345, inf);
  second.seconds = 3725.9;
  second.validation_metrics.clear();
  steps(progress, 469, 469, 1, 1.0, control);
  progress.on_epoch(second, control);
  progress.on_end({});
  CHECK(out.text() ==
        "Epoch 1/12\n"
        "469/469 ━━━━━━━━━━━━━━━━━━━━ 5s 11ms/step - loss: 0.2345 - accuracy: 0.9313 - val_loss: 0.2500 - "
        "val_accuracy: 0.5000\n"
        "Epoch 2/12\n"
        "469/469 ━━━━━━━━━━━━━━━━━━━━ 1:02:05 8s/step - loss: 1.2345e-04 - accuracy: 0.9313 - val_loss: inf\n");
}

TEST_CASE("Keras' progress redraws its line at most ten times a second on a terminal", "[hooks]") {
  const Captured out;
  TrainControl control;
  double now = 100;
  KerasProgress progress(out, true, [&] { return now; });
  progress.on_begin(200, 1);
  now = 101;
  steps(progress, 0, 50, 0, 2.0, control);  // drawn: 20 ms a step, 150 left
  now = 101.05;
  steps(progress, 50, 25, 0, 1.0, control);  // too soon
  now = 102;
  steps(progress, 75, 25, 0, 0.0, control);  // mean of 50 x 2, 25 x 1, 25 x 0
  steps(progress, 100, 100, 0, 0.0, control);
  EpochRecord e;
  e.steps = 200;
  e.seconds = 0.07;
  e.loss = 0.5;
  progress.on_epoch(e, control);
  progress.on_end({});
  CHECK(out.text() ==
        "Epoch 1/1\n"
        "\r 50/200 ━━━━━─────────────── 3s 20ms/step - loss: 2.0000 - accuracy: 0.7500\x1b[K"
        "\r100/200 ━━━━━━━━━━────────── 2s 20ms/step - loss: 1.2500 - accuracy: 0.7500\x1b[K"
        "\r200/200 ━━━━━━━━━━━━━━━━━━━━ 0s 350us/step - loss: 0.5000\x1b[K\n");
}

TEST_CASE("a progress line that was cut short is ended", "[hooks]") {
  const Captured out;
  TrainControl control;
  KerasProgress progress(out, true, [] { return 0.0; });
  progress.on_begin(10, 1);
  steps(progress, 0, 1, 0, not_a_number, control, {});
  progress.on_end({});
  CHECK(out.text() == "Epoch 1/1\n\r 1/10 ━━────────────────── 0s 0us/step - loss: nan\x1b[K\n");
}

TEST_CASE("CNTK's progress prints single minibatches", "[hooks]") {
  const Captured out;
  TrainControl control;
  CntkProgress progress(out, 500);
  steps(progress, 0, 64, 0, 2.3106, control, {{"error_rate", 0.8125}});
  steps(progress, 64, 436, 0, 9.0, control, {{"error_rate", 1.0}});
  steps(progress, 500, 1, 0, 0.27471, control, {{"other", 3.0}, {"error_rate", 0.078125}});
  steps(progress, 1000, 1, 1, 0.0006, control, {{"accuracy", 1.0}});
  steps(progress, 1500, 1, 1, -not_a_number, control, {});
  CHECK(out.text() ==
        "Minibatch: 0, Loss: 2.3106, Error: 81.25%\n"
        "Minibatch: 500, Loss: 0.2747, Error: 7.81%\n"
        "Minibatch: 1000, Loss: 0.0006, Error: 0.00%\n"
        "Minibatch: 1500, Loss: nan\n");
}

TEST_CASE("the CSV log has a row for every epoch at once", "[hooks]") {
  const TempFolder folder;
  TrainControl control;
  CsvLog log(folder / "log.csv");
  log.on_epoch(epoch(0, 0.1), control);
  CHECK(read_file(folder / "log.csv") == "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.93125,0.1,0.5,0.25\n");
  log.on_epoch(epoch(1, -not_a_number, -inf), control);
  EpochRecord third = epoch(2, 1.0 / 3);
  third.validation_loss.reset();
  third.validation_metrics.clear();
  log.on_epoch(third, control);
  CHECK(read_file(folder / "log.csv") ==
        "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.93125,0.1,0.5,0.25\n1,0.93125,nan,0.5,-inf\n2,0.93125,0."
        "3333333333333333,NA,NA\n");

  EpochRecord odd;
  odd.metrics = {{"=1+1", 1}, {"a,\"b\"", 2}};
  CsvLog(folder / "odd.csv").on_epoch(odd, control);
  CHECK(read_file(folder / "odd.csv") == "epoch,'=1+1,\"a,\"\"b\"\"\",loss\n0,1,2,0\n");
}

TEST_CASE("the JSONL log holds every minibatch, in blocks", "[hooks]") {
  const TempFolder folder;
  const std::string path = folder / "log.jsonl";
  TrainControl control;
  {
    JsonlLog log(path);
    steps(log, 0, 2, 0, 0.1, control);
    CHECK_FALSE(std::filesystem::exists(path));  // the block is not full, and 200 ms are not over
    steps(log, 2, 1, 0, not_a_number, control, {{"a \"b\"", inf}});
    log.on_epoch(epoch(0, 0.5), control);
    const double two[] = {0.5, -inf};
    log.log("errors", two);
    log.log("accuracy", 0.9913);
    CHECK(read_file(path) ==
          "{\"step\":0,\"epoch\":0,\"loss\":0.1,\"accuracy\":0.75,\"lr\":0.2}\n"
          "{\"step\":1,\"epoch\":0,\"loss\":0.1,\"accuracy\":0.75,\"lr\":0.2}\n"
          "{\"step\":2,\"epoch\":0,\"loss\":\"NaN\",\"a \\\"b\\\"\":\"Infinity\",\"lr\":0.2}\n"
          "{\"epoch\":0,\"steps\":469,\"seconds\":5.2,\"loss\":0.5,\"accuracy\":0.93125,\"val_loss\":0.25,\"val_"
          "accuracy\":0.5,\"lr\":0.2}\n"
          "{\"errors\":[0.5,\"-Infinity\"]}\n"
          "{\"accuracy\":0.9913}\n");
    steps(log, 3, 1, 1, 0.25, control);
  }
  const std::string first = read_file(path);
  CHECK(first.ends_with("{\"step\":3,\"epoch\":1,\"loss\":0.25,\"accuracy\":0.75,\"lr\":0.2}\n"));
  JsonlLog(path, true).log("more", 1);
  CHECK(read_file(path) == first + "{\"more\":1}\n");
  {
    JsonlLog log(path);
    steps(log, 0, 1000, 0, 0.5, control);
    const std::string part = read_file(path);
    CHECK(std::count(part.begin(), part.end(), '\n') == 960);  // 15 whole blocks
  }
  std::istringstream lines(read_file(path));
  std::int64_t step = 0;
  for (std::string line; std::getline(lines, line); ++step) REQUIRE(nlohmann::json::parse(line).at("step") == step);
  CHECK(step == 1000);
}

TEST_CASE("a log that cannot be written is one warning", "[hooks]") {
  const TempFolder folder;
  TrainControl control;
  Warnings warnings;
  {
    CsvLog log(folder / "absent/log.csv");
    log.on_epoch(epoch(0, 1), control);
    log.on_epoch(epoch(1, 1), control);
  }
  REQUIRE(warnings.lines.size() == 1);
  CHECK(warnings.lines[0] == "[log] cannot write " + (folder / "absent/log.csv") +
                                 ": No such file or directory; training goes on without it");
  {
    JsonlLog log("/dev/full");
    steps(log, 0, 1000, 0, 0.5, control);
  }
  REQUIRE(warnings.lines.size() == 2);
  CHECK(warnings.lines[1] == "[log] cannot write /dev/full: No space left on device; training goes on without it");
  CHECK_FALSE(stopped(control));
}

TEST_CASE("the recorder keeps every value", "[hooks]") {
  Recorder recorder;
  TrainControl control;
  steps(recorder, 0, 3, 0, 0.5, control, {{"error_rate", 0.25}, {"accuracy", 0.75}});
  steps(recorder, 3, 2, 0, 1.5, control, {{"error_rate", 1}, {"accuracy", 0}});
  CHECK(recorder.losses == std::vector<double>{0.5, 0.5, 0.5, 1.5, 1.5});
  CHECK(recorder.metric("error_rate") == std::vector<double>{0.25, 0.25, 0.25, 1, 1});
  CHECK_THROWS_WITH(recorder.metric("loss"), "[recorder] no metric 'loss' among: error_rate, accuracy");
}

TEST_CASE("early stopping waits for its patience", "[hooks]") {
  const auto stops_after = [](EarlyStoppingOptions options, const std::vector<double>& values,
                              std::string* why = nullptr) {
    EarlyStopping hook(options);
    TrainControl control;
    for (std::size_t i = 0; i < values.size(); ++i) {
      hook.on_epoch(epoch(static_cast<std::int32_t>(i), 1, values[i]), control);
      if (why != nullptr) *why = reason(control);
      if (stopped(control)) return static_cast<int>(i);
    }
    return -1;
  };
  std::string why;
  CHECK(stops_after({.patience = 2}, {3, 2, 2.5, 1, 1, 1, 0}, &why) == 5);
  CHECK(why == "val_loss did not improve for 2 epochs, best 1.0000");
  CHECK(stops_after({}, {3, 2, 2, 0}) == 2);
  CHECK(stops_after({.patience = 1}, {3, 2, 2, 0}) == 2);
  CHECK(stops_after({.patience = 1}, {3, 2, 1, 0.5}) == -1);
  CHECK(stops_after({.min_delta = 0.5}, {3, 2, 1.6}) == 2);
  CHECK(stops_after({.better = Better::larger}, {3, 2, 9}) == 1);
  CHECK(stops_after({.patience = 2}, {not_a_number, not_a_number, 0}) == 1);
  CHECK(stops_after({.patience = 3}, {1, not_a_number, 0.5, not_a_number, not_a_number, 0.4}) == -1);
  EarlyStopping wrong({.monitor = "val_acc"});
  TrainControl control;
  CHECK_THROWS_WITH(wrong.on_epoch(epoch(0, 1), control),
                    "[monitor] no figure 'val_acc' among: loss, accuracy, val_loss, val_accuracy");
}

TEST_CASE("the best epoch is saved", "[hooks]") {
  std::vector<std::string> saved;
  TrainControl control;
  control.*opened(Save{}) = [&](const std::string& path) { saved.push_back(path); };
  BestCheckpoint best("best.safetensors");
  for (const double value : {not_a_number, 0.5, 0.6, 0.4, not_a_number, 0.4})
    best.on_epoch(epoch(0, 1, value), control);
  CHECK(saved == std::vector<std::string>{"best.safetensors", "best.safetensors"});
  CHECK(best.best() == 0.4);
  BestCheckpoint most("most.safetensors", "val_accuracy");
  EpochRecord e = epoch(0, 1);
  for (const double value : {0.5, 0.6, 0.4}) {
    e.validation_metrics[0].value = value;
    most.on_epoch(e, control);
  }
  CHECK(saved.size() == 4);
  CHECK(most.best() == 0.6);
}

TEST_CASE("a loss that is not finite stops", "[hooks]") {
  StopOnNan hook;
  for (const double bad : {not_a_number, -not_a_number, inf, -inf}) {
    TrainControl control;
    steps(hook, 0, 10, 0, 1e30, control);
    CHECK_FALSE(stopped(control));
    steps(hook, 10, 2, 0, bad, control);
    CHECK(stopped(control));
    CHECK(reason(control) == (std::isnan(bad) ? "loss is nan at step 10"
                              : bad > 0       ? "loss is inf at step 10"
                                              : "loss is -inf at step 10"));
  }
}

TEST_CASE("a schedule sets the rate of the next epoch", "[hooks]") {
  LrSchedule hook([](std::int32_t e) { return 1.f / static_cast<float>(e + 1); });
  TrainControl control;
  hook.on_epoch(epoch(0, 1), control);
  CHECK((control.*opened(Rate{})) == 0.5f);
  hook.on_epoch(epoch(2, 1), control);
  CHECK((control.*opened(Rate{})) == 0.25f);
}
