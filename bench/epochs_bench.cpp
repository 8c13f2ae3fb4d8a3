// Whole trainings on MNIST: seconds that the epochs take, with and without the evaluation after each, the accuracy that they reach,
// and the seconds until a given one is reached. A JSON object a training, the same as the peers' with --epochs.
//
// The clock runs from before fit() until after its last epoch: making the plans, copying the data to a device and recording steps
// are in it. What a process does once, such as loading kernels onto the device, is done before by a short training that does not count.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "bench/support/program.hpp"
#include "bench/support/recipe.hpp"
#include "tenon/backend.hpp"
#include "tenon/train.hpp"

namespace {

using namespace tenon;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t validation_batch = 2000;  // as the peers' programs do it

struct Flags {
  std::string model = "cnn", precision = "fp32", device = "auto", provider;
  std::optional<std::string> data_folder;
  std::int64_t batch = 0, warmup = 70;
  int epochs = 12, seeds = 1, threads = 0;
  std::uint64_t seed = 1;
  double target = 0.99;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--model", f.model, "cnn or mlp")->check(CLI::IsMember({"cnn", "mlp"}))->capture_default_str();
  app.add_option("--data-folder", f.data_folder, "Folder with MNIST's four files, or whose subfolder mnist has them");
  app.add_option("--batch", f.batch, "Images in a minibatch; 0 for the model's: 128 (cnn), 64 (mlp)")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--epochs", f.epochs, "Of each training")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--seeds", f.seeds, "Trainings, with seeds from --seed on")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--seed", f.seed, "Of the first training's weights, order and dropout")->capture_default_str();
  app.add_option("--warmup", f.warmup, "Steps of the training that does not count")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  app.add_option("--target", f.target, "Accuracy on the test images whose time is taken")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--precision", f.precision, "Arithmetic: fp32, tf32, bf16 or fp16")->capture_default_str();
  app.add_option("--device", f.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--provider", f.provider, "cpu.eigen, or conv2d=cpu.eigen,*=cpu.avx2");
  app.add_option("--threads", f.threads, "Threads on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

double seconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// Takes the time of every epoch's steps by themselves: its last records come before the evaluation, the epoch's own behind it.
class Stopwatch final : public Hook {
 public:
  Stopwatch(double target, bool errors) : target_(target), errors_(errors) {}
  void on_begin(std::int64_t, std::int32_t) override { begin_ = epoch_begin_ = steps_end_ = Clock::now(); }
  void on_steps(std::span<const StepRecord>, TrainControl&) override { steps_end_ = Clock::now(); }
  void on_epoch(const EpochRecord& e, TrainControl&) override {
    training_ += seconds(epoch_begin_, steps_end_);
    const double metric = e.validation_metrics.at(0).value;
    accuracies.push_back(errors_ ? 1 - metric : metric);
    epoch_begin_ = Clock::now();
    if (accuracies.back() < target_ || to_target) return;
    to_target = seconds(begin_, epoch_begin_);
    target_epochs = e.epoch + 1;
  }
  /// `before`: seconds that fit() took until its first epoch.
  [[nodiscard]] double training(double before) const { return before + training_; }
  [[nodiscard]] Clock::time_point begin() const { return begin_; }

  std::vector<double> accuracies;
  std::optional<double> to_target;
  int target_epochs = 0;

 private:
  double target_, training_ = 0;
  bool errors_;
  Clock::time_point begin_, epoch_begin_, steps_end_;
};

Trainer make_trainer(const Flags& f, std::uint64_t seed) {
  const bench::Recipe recipe = bench::recipe(f.model);
  return Trainer(bench::make_net(f.model), {.loss = recipe.loss,
                                            .optimizer = recipe.optimizer,
                                            .metrics = {recipe.metric},
                                            .device = f.device,
                                            .precision = f.precision,
                                            .providers = f.provider,
                                            .threads = f.threads,
                                            .seed = seed});
}

void train(const Flags& f, const Dataset& data, const Dataset& test, std::uint64_t seed) {
  Trainer trainer = make_trainer(f, seed);
  Stopwatch watch(f.target, f.model == "mlp");
  const auto begin = Clock::now();
  const History h = trainer.fit(data, {.batch_size = f.batch,
                                       .epochs = f.epochs,
                                       .validation = test,
                                       .validation_batch = validation_batch,
                                       .hooks = {&watch}});
  const double all = seconds(begin, Clock::now()), before = seconds(begin, watch.begin());
  if (h.summary.halted) throw NumericError(fmt::format("[epochs_bench] seed {}: {}", seed, h.summary.reason));
  nlohmann::ordered_json out{{"program", "tenon"},
                             {"model", f.model},
                             {"batch", f.batch},
                             {"seed", seed},
                             {"epochs", f.epochs},
                             {"training_s", watch.training(before)},
                             {"with_evaluation_s", all},
                             {"accuracy", watch.accuracies.back()},
                             {"accuracies", watch.accuracies},
                             {"target", f.target},
                             {"skipped_updates", h.summary.skipped},
                             {"device", backend(f.device).name()},
                             {"precision", f.precision},
                             {"banner", trainer.program(data).banner()}};
  if (watch.to_target) {
    out["to_target_s"] = *watch.to_target + before;
    out["target_epochs"] = watch.target_epochs;
  }
  fmt::print("{}\n", out.dump());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Time and accuracy of whole trainings on MNIST, a JSON object each.", "epochs_bench");
  describe(app, flags);
  return bench::run_program("epochs_bench", app, [&] {
    app.parse(argc, argv);
    const bench::Recipe recipe = bench::recipe(flags.model);
    if (flags.batch == 0) flags.batch = recipe.batch;
    const MnistData mnist = bench::load_data(flags.data_folder);
    const Dataset data = recipe.data(mnist.train), test = recipe.data(mnist.test);
    (void)make_trainer(flags, 0).fit(
        data,
        {.batch_size = flags.batch, .validation = test, .validation_batch = validation_batch, .updates = flags.warmup});
    for (int i = 0; i < flags.seeds; ++i) train(flags, data, test, flags.seed + static_cast<std::uint64_t>(i));
  });
}
