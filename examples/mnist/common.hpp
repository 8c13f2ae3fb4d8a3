// What mnist_mlp and mnist_cnn share: the command line, the data, the output folder, and what happens on errors and
// signals.
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

#include "tenon/data.hpp"
#include "tenon/hooks.hpp"
#include "tenon/train.hpp"

namespace mnist {

/// The command line. What a program passes to run_program() are its defaults.
struct Flags {
  std::string program, about;
  std::int64_t batch_size = 64;
  std::int32_t epochs = 1;
  float learning_rate = 0.1f;
  std::optional<std::string> data_folder{};
  bool download = false;
  std::string device = "auto", provider{}, precision = "fp32";
  float loss_scale = 0.f;
  int threads = 0;
  std::uint64_t seed = 1;
  std::string outputs = "outputs";
  std::string load{};                 // weights to begin with; empty: new ones
  std::optional<std::string> tune{};  // time kernels; a file of earlier choices, or empty
  bool quiet = false;
  bool track = true, strict_log = false, tensorboard = false;
  std::string experiment = "mnist", runs{};  // empty: TENON_RUNS, or `runs`
  std::string mlflow_uri{};                  // of a server that gets the run when it has ended
  std::optional<std::string> registered{};   // the name under which the weights become a model
};

/// Parses the command line and runs `body`. Errors become one line on stderr and the exit code that --help lists.
int run_program(int argc, char** argv, const Flags& defaults, const std::function<void(const Flags&)>& body);

/// The files that a program writes: DIR/PROGRAM.safetensors and so on.
struct Outputs {
  std::string weights, metrics, epochs, tune;
};
/// Makes the folder and tries to write there. Throws IoError.
[[nodiscard]] Outputs prepare_outputs(const Flags& flags);

/// What --tune asks for. Choices go to DIR/tune.json, and what is there already is not timed again; with --load it is read
/// without --tune too, so that a run that goes on has the rows of the one before.
[[nodiscard]] tenon::Tune tune_options(const Flags& flags, const Outputs& outputs);

/// The MNIST that --data-folder and --download ask for; what is found on the way goes to stderr.
[[nodiscard]] tenon::MnistData load_data(const Flags& flags);
/// The same samples, their labels as rows of ten: 1 for the digit, 0 elsewhere.
[[nodiscard]] tenon::Dataset one_hot(const tenon::Dataset& digits);
/// The images of a data set as the loader hands them over: floats from 0 to 1.
[[nodiscard]] tenon::Array scaled(const tenon::Dataset& digits);
/// As Python prints it: `(60000, 28, 28, 1)`.
[[nodiscard]] std::string shape_text(const tenon::Array& array);

/// While it lives, the first SIGINT or SIGTERM ends training after the minibatch that runs, so that the weights can be
/// saved; the second ends the program at once.
class StopOnSignal : public tenon::Hook {
 public:
  StopOnSignal();
  ~StopOnSignal() override;
  void on_steps(std::span<const tenon::StepRecord>, tenon::TrainControl&) override;
  [[nodiscard]] static bool received();
};

/// Saves what was learned and says where. Throws NumericError when the loss was not finite.
void save_weights(const tenon::History& history, const tenon::Model& model, const Outputs& outputs);

/// Prints to stdout at once. A reader that has gone away does not stop training.
template <class... Args>
void say(fmt::format_string<Args...> text, Args&&... args) {
  const std::string line = fmt::format(text, std::forward<Args>(args)...);
  (void)std::fwrite(line.data(), 1, line.size(), stdout);
  (void)std::fflush(stdout);
}

}  // namespace mnist
