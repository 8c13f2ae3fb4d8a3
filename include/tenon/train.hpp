// The epoch loop and its observers.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/data.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// One finished minibatch.
struct StepRecord {
  std::int64_t step = 0;   // since training began, from 0
  std::int32_t epoch = 0;  // from 0
  std::int64_t examples = 0;
  double loss = 0;
  std::span<const NamedValue> metrics;  // valid during the call
  float learning_rate = 0;
};

/// One finished epoch; training figures are means over its examples.
struct EpochRecord {
  std::int32_t epoch = 0, epochs = 0;
  std::int64_t steps = 0, examples = 0;
  double seconds = 0;
  double loss = 0;
  std::vector<NamedValue> metrics;
  std::optional<double> validation_loss;
  std::vector<NamedValue> validation_metrics;
  float learning_rate = 0;
};

struct Summary {
  bool stopped_early = false, halted = false;
  std::string reason;
  std::int64_t steps = 0;
  std::int64_t skipped = 0;  // updates, because a gradient of the scaled loss was not finite
  double seconds = 0;
};

/// What a hook may ask of the trainer.
class TrainControl {
 public:
  /// Ends training after the current step.
  void stop(std::string reason) {
    stopped_ = true;
    reason_ = std::move(reason);
  }
  void set_lr(float lr) { lr_ = lr; }
  [[nodiscard]] bool stopped() const { return stopped_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  /// Writes the model's weights as safetensors.
  void save(const std::string& path);

 private:
  friend class Trainer;
  bool stopped_ = false;
  std::string reason_;
  std::optional<float> lr_;
  std::function<void(const std::string&)> save_;
};

/// Observer of training. Every minibatch passes on_steps exactly once and in order; they come in blocks unless
/// every_step() asks for each at once.
struct Hook {
  virtual ~Hook() = default;
  [[nodiscard]] virtual bool every_step() const { return false; }
  virtual void on_begin(std::int64_t /*steps_per_epoch*/, std::int32_t /*epochs*/) {}
  virtual void on_steps(std::span<const StepRecord>, TrainControl&) {}
  virtual void on_epoch(const EpochRecord&, TrainControl&) {}
  virtual void on_end(const Summary&) {}
};

struct History {
  std::vector<EpochRecord> epochs;
  Summary summary;
  /// A metric of every epoch: "loss", "accuracy", "val_loss", "val_accuracy". Throws UsageError.
  [[nodiscard]] std::vector<double> operator[](const std::string& name) const;
};

struct TrainerOptions {
  Loss loss{};
  Optimizer optimizer = Sgd{};
  std::vector<Metric> metrics{};
  std::string device = "auto", precision = "fp32", providers{};
  int threads = 0;
  std::uint64_t seed = 0;
  float clip_norm = 0.f;
  int accumulate = 1;
  std::vector<std::string> frozen{};
  std::vector<ParameterGroup> groups{};
  float loss_scale = 0.f;  // see CompileOptions
  bool fuse = true;
  Tune tune{};
};

struct FitOptions {
  std::int64_t batch_size = 32;
  std::int32_t epochs = 1;
  std::optional<Dataset> validation{};
  std::int64_t validation_batch = 0;  // 0: batch_size
  std::vector<Hook*> hooks{};
  bool shuffle = true;
  /// Minibatches run on across sweeps, as CNTK's do, and training ends after exactly this many updates; 0: by epochs.
  std::int64_t updates = 0;
  bool stop_on_nan = true;
};

struct Evaluation {
  double loss = 0;
  std::vector<NamedValue> metrics;
  std::int64_t examples = 0;
  [[nodiscard]] double operator[](const std::string& name) const;
};

class Trainer {
 public:
  Trainer(Model model, TrainerOptions options);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// Keras' meaning: shuffles every epoch, reports means over the epoch, validates after each.
  History fit(const Dataset& train, FitOptions options);
  /// Means over the examples.
  [[nodiscard]] Evaluation evaluate(const Dataset& data, std::int64_t batch_size = 512);
  /// The model's only output for every row.
  [[nodiscard]] Array predict(const Array& x, std::int64_t batch_size = 512);
  /// The compiled program, built for this data set's shapes if need be.
  [[nodiscard]] Program& program(const Dataset& data);
  [[nodiscard]] Model& model();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tenon
