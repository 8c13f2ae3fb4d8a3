// Command line, data and files of the MNIST programs.
#include "common.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <new>

#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tenon/kernel.hpp"
#include "tenon/log.hpp"

namespace mnist {
namespace {

using namespace tenon;

constexpr const char* exit_codes =
    "Exit codes: 0 done, 2 wrong usage, 3 bad data, 4 bad weight file, 5 input or output failed, 6 loss not finite,\n"
    "7 out of memory, 8 device not usable, 130 interrupted and saved, 143 terminated and saved, 1 anything else.";

std::atomic<int> signal_received{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");

void remember_signal(int signal) { signal_received = signal; }

/// A check for CLI11: an empty string for a value that may pass, else what is wrong with it.
template <class Check>
CLI::Validator validator(Check check) {
  return {[check](std::string& value) { return check(value); }, ""};
}

std::string check_device(const std::string& value) {
  const bool numbered =
      value.starts_with("cuda:") && value.size() > 5 && value.find_first_not_of("0123456789", 5) == std::string::npos;
  return value == "auto" || value == "cpu" || value == "cuda" || numbered
             ? ""
             : "expected auto, cpu, cuda or cuda:N, found " + value;
}

std::string check_precision(const std::string& value) {
  try {
    (void)precision_of(value);
    return "";
  } catch (const UsageError& error) {
    return error.what();
  }
}

std::string check_rate(const std::string& value) {
  float rate = 0;
  return CLI::detail::lexical_cast(value, rate) && std::isfinite(rate) && rate > 0
             ? ""
             : "expected a number above 0, found " + value;
}

std::string check_seed(const std::string& value) {
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seed);
  return error == std::errc{} && end == value.data() + value.size()
             ? ""
             : "expected a whole number below 2^64, found " + value;
}

void describe(CLI::App& app, Flags& f) {
  app.add_option("--data-folder", f.data_folder, "Folder with MNIST's four files, or whose subfolder mnist has them");
  app.add_flag("--download", f.download, "Fetch the files that are missing");
  app.add_option("--batch-size", f.batch_size, "Images in a minibatch")
      ->check(CLI::Range(1, 60000))
      ->capture_default_str();
  app.add_option("--epochs", f.epochs, "Sweeps over the training images; 0 only evaluates")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--learning-rate", f.learning_rate, "Step size of the optimizer")
      ->check(validator(check_rate))
      ->capture_default_str();
  app.add_option("--device", f.device, "Where to run: auto, cpu, cuda or cuda:N")
      ->check(validator(check_device))
      ->capture_default_str();
  app.add_option("--provider", f.provider,
                 "Kernels to use, for all ops or by op: cpu.eigen, or conv2d=cpu.eigen,*=cpu.avx2");
  app.add_option(
         "--precision", f.precision,
         "Arithmetic: fp32, in canonical order; tf32, where products may be transformed; bf16 or, on CUDA, fp16: "
         "products of numbers rounded to 16 bits")
      ->check(validator(check_precision))
      ->capture_default_str();
  app.add_option("--loss-scale", f.loss_scale,
                 "Power of two by which gradients are larger while they are computed; 0 for 1024 in fp16, else 1")
      ->check(CLI::Range(0.f, 16777216.f))
      ->capture_default_str();
  app.add_option("--threads", f.threads, "Threads on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--seed", f.seed, "Of the initial weights, the order of the images and the dropout")
      ->check(validator(check_seed))
      ->capture_default_str();
  app.add_option("--outputs", f.outputs, "Folder for weights and logs; made where missing")->capture_default_str();
  app.add_option("--load", f.load, "Weight file to begin with");
  app.add_option(
         "--tune", f.tune,
         "Time the kernels that may run each problem and keep the fastest; choices that FILE, or else tune.json\n"
         "in the folder for outputs, has for this machine are kept. They are stored there with the run")
      ->type_name("[FILE]")
      ->expected(0, 1);
  app.add_flag("--quiet", f.quiet, "No progress lines");
  app.add_flag("!--no-track", f.track, "Keep no run: no minibatch, epoch, mistake or file of this training");
  app.add_option("--runs", f.runs, "Folder of all runs (default: TENON_RUNS, or runs)");
  app.add_option("--experiment", f.experiment, "Experiment that the run belongs to")->capture_default_str();
  app.add_option("--register", f.registered,
                 "Register the weights as a model (mnist-cnn, mnist-mlp, or NAME), and print name, id and version")
      ->type_name("[NAME]")
      ->expected(0, 1);
  app.add_flag("--tensorboard", f.tensorboard, "Write an event file for TensorBoard into the run's folder as well");
  app.add_option("--mlflow-uri", f.mlflow_uri, "Bring an MLflow server up to date with the run when it has ended");
  app.add_flag("--strict-log", f.strict_log, "What cannot be logged ends the program, instead of one warning");
  app.footer(exit_codes);
}

int fail(const std::string& program, const std::string& message, int code) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(), message.c_str());
  return code;
}

}  // namespace

int run_program(int argc, char** argv, const Flags& defaults, const std::function<void(const Flags&)>& body) {
  Flags flags = defaults;
  const auto code = [](ExitCode c) { return static_cast<int>(c); };
  try {
    CLI::App app(flags.about, flags.program);
    describe(app, flags);
    try {
      app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      say("{}", app.help());
      return 0;
    } catch (const CLI::ParseError& error) {
      return fail(flags.program, fmt::format("{}\nRun {} --help for the flags.", error.what(), flags.program),
                  code(ExitCode::usage));
    }
    signal(SIGPIPE, SIG_IGN);
    log_to_stderr();
    body(flags);
  } catch (const Error& error) {
    return fail(flags.program, error.what(), code(error.code()));
  } catch (const std::bad_alloc&) {
    return fail(flags.program, "not enough memory", code(ExitCode::memory));
  } catch (const std::exception& error) {
    return fail(flags.program, error.what(), 1);
  }
  if (const int signal = signal_received)
    return fail(flags.program, "stopped by a signal, weights saved", 128 + signal);
  return 0;
}

Outputs prepare_outputs(const Flags& flags) {
  const std::filesystem::path folder(flags.outputs);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  // create_directories is content with a folder that is there; only writing tells whether one may.
  std::string probe = (folder / ".tenon-XXXXXX").string();
  const int fd = error ? -1 : ::mkostemp(probe.data(), O_CLOEXEC);
  if (fd < 0) {
    const std::string reason = error ? error.message() : std::strerror(errno);
    throw IoError(fmt::format("[--outputs] cannot write to the folder {}: {}", flags.outputs, reason));
  }
  ::close(fd);
  ::unlink(probe.c_str());
  const std::string stem = (folder / flags.program).string();
  return {stem + ".safetensors", stem + "_metrics.jsonl", stem + "_epochs.csv", (folder / "tune.json").string()};
}

Tune tune_options(const Flags& flags, const Outputs& outputs) {
  std::error_code none;
  const std::string kept = std::filesystem::exists(outputs.tune, none) ? outputs.tune : "";
  if (!flags.tune) return {.measure = false, .read = flags.load.empty() ? "" : kept, .write = {}};
  return {.measure = true, .read = flags.tune->empty() ? kept : *flags.tune, .write = outputs.tune};
}

MnistData load_data(const Flags& flags) {
  return load_mnist({.data_folder = flags.data_folder, .download = flags.download, .log = [](const std::string& line) {
                       std::fprintf(stderr, "%s\n", line.c_str());
                     }});
}

Dataset one_hot(const Dataset& digits) {
  const auto& [name, labels] = digits.targets().at(0);
  Array rows(DType::f32, {digits.size(), 10});
  const auto from = labels.data.values<std::uint8_t>();
  const auto to = rows.values<float>();
  for (std::size_t i = 0; i < from.size(); ++i) to[10 * i + from[i]] = 1.f;
  return Dataset(digits.inputs(), {{name, Column{rows}}});
}

Array scaled(const Dataset& digits) {
  const Column& column = digits.inputs().at(0).second;
  Array x = column.data.to(DType::f32);
  for (float& value : x.values<float>()) value /= column.divisor;
  return x;
}

std::string shape_text(const Array& array) {
  return fmt::format("({}{})", fmt::join(array.shape().extents(), ", "), array.shape().rank() == 1 ? "," : "");
}

StopOnSignal::StopOnSignal() {
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int s : {SIGINT, SIGTERM}) sigaction(s, &action, nullptr);
}

StopOnSignal::~StopOnSignal() {
  for (const int s : {SIGINT, SIGTERM}) signal(s, SIG_DFL);
}

void StopOnSignal::on_steps(std::span<const StepRecord>, TrainControl& control) {
  if (received()) control.stop(signal_received == SIGINT ? "interrupted" : "terminated");
}

bool StopOnSignal::received() { return signal_received != 0; }

void save_weights(const History& history, const Model& model, const Outputs& outputs) {
  if (history.summary.halted)
    throw NumericError("[train] " + history.summary.reason + ": nothing was saved; try a smaller --learning-rate");
  if (history.summary.skipped > 0)
    say("Skipped {} of {} updates: gradients of the scaled loss overflowed\n", history.summary.skipped,
        history.summary.steps);
  save(model, outputs.weights);
  say("Saved {}\n", outputs.weights);
}

}  // namespace mnist
