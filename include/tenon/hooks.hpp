// Hooks that come with the library: progress lines, logs, and decisions at the end of an epoch.
#pragma once
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/train.hpp"

namespace tenon {

namespace detail {
class LogFile;
}

/// Keras' progress: `Epoch 1/12`, then `469/469 ━━━━━━━━━━━━━━━━━━━━ 5s 11ms/step - loss: 0.2345 - accuracy: 0.9312`.
/// On a terminal the line is redrawn in place, at most ten times a second; elsewhere it is written once, when the epoch
/// is over.
class KerasProgress : public Hook {
 public:
  /// Seconds from any start; a test passes its own.
  using Clock = std::function<double()>;
  KerasProgress(std::FILE* out, bool terminal, Clock clock = {});
  void on_begin(std::int64_t steps_per_epoch, std::int32_t epochs) override;
  void on_steps(std::span<const StepRecord>, TrainControl&) override;
  void on_epoch(const EpochRecord&, TrainControl&) override;
  void on_end(const Summary&) override;

 private:
  void begin_epoch(std::int32_t epoch);
  void draw(double now);

  std::FILE* out_;
  bool terminal_, line_open_ = false;
  Clock clock_;
  std::int64_t steps_per_epoch_ = 0, done_ = 0;
  std::int32_t epoch_ = -1, epochs_ = 0;
  double began_ = 0, drawn_ = 0, examples_ = 0;
  std::vector<NamedValue> sums_;  // loss and metrics of the epoch so far, times examples
};

/// CNTK's progress, a line every `every` minibatches from the first: `Minibatch: 500, Loss: 0.2747, Error: 7.81%`. The
/// error is the metric error_rate, or 1 - accuracy; without either there is none.
class CntkProgress : public Hook {
 public:
  explicit CntkProgress(std::FILE* out, std::int64_t every = 500) : out_(out), every_(every) {}
  void on_steps(std::span<const StepRecord>, TrainControl&) override;

 private:
  std::FILE* out_;
  std::int64_t every_;
};

/// One row an epoch, in the columns of Keras' CSVLogger: epoch, then the names in alphabetical order. A file that
/// cannot be written is one warning; training goes on.
class CsvLog : public Hook {
 public:
  explicit CsvLog(const std::string& path);
  ~CsvLog() override;
  void on_epoch(const EpochRecord&, TrainControl&) override;

 private:
  std::unique_ptr<detail::LogFile> file_;
  std::vector<std::string> columns_;  // of the first epoch
};

/// One JSON object a line: {"step","epoch","loss",metrics...,"lr"} for every minibatch,
/// {"epoch","steps","seconds","loss", metrics...,"val_loss",...,"lr"} for every epoch, and what the program logs. NaN
/// and infinities are strings. Lines reach the file in blocks of up to 64 minibatches or 200 ms, with one write each. A
/// failing file is one warning.
class JsonlLog : public Hook {
 public:
  /// Replaces the file, or goes on behind what it holds.
  explicit JsonlLog(const std::string& path, bool append = false);
  ~JsonlLog() override;
  /// {"name":value} and {"name":[values]}
  void log(std::string_view name, double value);
  void log(std::string_view name, std::span<const double> values);
  void on_steps(std::span<const StepRecord>, TrainControl&) override;
  void on_epoch(const EpochRecord&, TrainControl&) override;
  void on_end(const Summary&) override;

 private:
  void flush();

  std::unique_ptr<detail::LogFile> file_;
  std::string block_;
  int lines_ = 0;
  std::chrono::steady_clock::time_point flushed_;
};

/// Keeps the loss and the metrics of every minibatch in memory.
class Recorder : public Hook {
 public:
  std::vector<double> losses;
  /// A metric of every minibatch. Throws UsageError that lists the names there are.
  [[nodiscard]] const std::vector<double>& metric(std::string_view name) const;
  void on_steps(std::span<const StepRecord>, TrainControl&) override;

 private:
  std::vector<std::pair<std::string, std::vector<double>>> metrics_;
};

/// What counts as better. `automatic`: the larger for a name with "acc" in it, the smaller for others.
enum class Better { automatic, smaller, larger };

/// Whether a figure of the epoch has improved: "loss", "accuracy", "val_loss", ... NaN never does.
class Monitor {
 public:
  Monitor(std::string name, double min_delta, Better better);
  /// Throws UsageError that lists the names there are.
  [[nodiscard]] bool improved(const EpochRecord&);
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// NaN before the first improvement.
  [[nodiscard]] double best() const noexcept { return best_; }

 private:
  std::string name_;
  double min_delta_;
  bool larger_;
  double best_ = std::numeric_limits<double>::quiet_NaN();
};

struct EarlyStoppingOptions {
  std::string monitor = "val_loss";
  int patience = 0;        // epochs without improvement after which training ends; 0 means 1
  double min_delta = 0.0;  // a smaller change is no improvement
  Better better = Better::automatic;
};
/// Stops training when a figure has not improved for `patience` epochs.
class EarlyStopping : public Hook {
 public:
  explicit EarlyStopping(EarlyStoppingOptions options = {});
  void on_epoch(const EpochRecord&, TrainControl&) override;
  [[nodiscard]] double best() const noexcept { return monitor_.best(); }

 private:
  Monitor monitor_;
  int patience_, waited_ = 0;
};

/// Saves the weights whenever a figure has improved.
class BestCheckpoint : public Hook {
 public:
  explicit BestCheckpoint(std::string path, std::string monitor = "val_loss", Better better = Better::automatic);
  void on_epoch(const EpochRecord&, TrainControl&) override;
  [[nodiscard]] double best() const noexcept { return monitor_.best(); }

 private:
  std::string path_;
  Monitor monitor_;
};

/// Stops at a loss that is not finite.
class StopOnNan : public Hook {
 public:
  void on_steps(std::span<const StepRecord>, TrainControl&) override;
};

/// Sets the learning rate of the epochs after the first, whose rate is the optimizer's, as a function of the epoch from
/// 0. For a schedule by updates see optim.hpp.
class LrSchedule : public Hook {
 public:
  explicit LrSchedule(std::function<float(std::int32_t epoch)> schedule) : schedule_(std::move(schedule)) {}
  void on_epoch(const EpochRecord&, TrainControl&) override;

 private:
  std::function<float(std::int32_t)> schedule_;
};

}  // namespace tenon
