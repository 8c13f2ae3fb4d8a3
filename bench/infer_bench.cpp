// Prediction with the MNIST models, from raw images to the numbers of the output: fetch the next minibatch from the
// loader, run the predictor. The clock runs from before the fetch until the outputs are there.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "bench/support/program.hpp"
#include "bench/support/recipe.hpp"
#include "lib/passes/row_set.hpp"
#include "tenon/backend.hpp"
#include "tenon/data.hpp"
#include "tenon/program.hpp"

namespace {

using namespace tenon;
using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model = "cnn", precision = "fp32", device = "auto";
  std::optional<std::string> data_folder, tune;
  std::int64_t batch = 500, steps = 100, warmup = 10;
  int threads = 0;
  std::uint64_t seed = 1;
  bool json = false;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--model", f.model, "cnn or mlp")->check(CLI::IsMember({"cnn", "mlp"}))->capture_default_str();
  app.add_option("--data-folder", f.data_folder, "Folder with MNIST's four files, or whose subfolder mnist has them");
  app.add_option("--batch", f.batch, "Images in a call")->check(CLI::Range(1, 60000))->capture_default_str();
  app.add_option("--precision", f.precision, "Arithmetic: fp32, tf32, bf16 or fp16")->capture_default_str();
  app.add_option("--device", f.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", f.threads, "Threads on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--steps", f.steps, "Calls that are timed")->check(CLI::Range(1, 10000000))->capture_default_str();
  app.add_option("--warmup", f.warmup, "Calls before them")->check(CLI::Range(0, 10000000))->capture_default_str();
  app.add_option("--seed", f.seed, "Of the weights and the order of the images")->capture_default_str();
  app.add_option(
         "--tune", f.tune,
         "Time the kernels that may run each problem first and keep the fastest; choices that FILE has for this\n"
         "machine are kept, new ones are added to it")
      ->type_name("[FILE]")
      ->expected(0, 1);
  app.add_flag("--json", f.json, "Print one JSON object");
}

/// A fresh model, whose inputs and weights compiling makes known.
Model make_model(const Flags& f, const Dataset& data) {
  Model model = bench::make_net(f.model);
  CompileOptions c;
  for (const auto& [name, column] : data.inputs())
    c.inputs.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  c.run = {.device = f.device, .threads = f.threads, .seed = f.seed};
  const Program program = compile(model, std::move(c));
  return model;
}

std::vector<double> run_calls(const Flags& f, const Predictor& predict, const Dataset& data) {
  Loader loader(data,
                {.batch_size = f.batch, .seed = f.seed, .continuous = true, .busy_threads = predict.host_threads()});
  loader.start_epoch(0);
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(f.steps));
  for (std::int64_t i = 0; i < f.warmup + f.steps; ++i) {
    const auto begin = Clock::now();
    const std::vector<Array> out = predict(loader.next()->inputs);
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (!std::isfinite(out.at(0).at(0)))
      throw NumericError(fmt::format("[infer_bench] expected a finite output, found {}", out[0].at(0)));
    if (i >= f.warmup) times.push_back(ms);
  }
  return times;
}

void report(const Flags& f, const std::vector<double>& times, const std::string& source) {
  const double median = bench::quantile(times, 0.5), least = bench::quantile(times, 0);
  const double spread = bench::quantile(times, 0.9) - bench::quantile(times, 0.1);
  const double images = 1e3 * static_cast<double>(f.batch) / median;
  const Backend& device = backend(f.device);
  const std::string banner =
      fmt::format("{}: {}, {} threads; {}{}", device.name(), device.description(), f.threads,
                  RowSet(device, {.precision = f.precision}).precision_text(), f.tune ? ", tuned" : "");
  if (!f.json) {
    fmt::print("{}\n{} batch {}: median {:.3f} ms, min {:.3f}, spread (p90-p10) {:.3f}, {:.0f} images/s, {} calls\n",
               banner, f.model, f.batch, median, least, spread, images, f.steps);
    return;
  }
  const nlohmann::ordered_json out{{"program", "tenon"},       {"model", f.model},        {"mode", "infer"},
                                   {"batch", f.batch},         {"steps", f.steps},        {"warmup", f.warmup},
                                   {"median_ms", median},      {"min_ms", least},         {"spread", spread},
                                   {"images_per_s", images},   {"device", device.name()}, {"threads", f.threads},
                                   {"precision", f.precision}, {"banner", banner},        {"data", source}};
  fmt::print("{}\n", out.dump());
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Time of prediction with the MNIST models.", "infer_bench");
  describe(app, flags);
  return bench::run_program("infer_bench", app, [&] {
    app.parse(argc, argv);
    if (flags.threads == 0) flags.threads = backend(flags.device).default_threads();
    const MnistData mnist = bench::load_data(flags.data_folder);
    const Model model = make_model(flags, mnist.train);
    const Predictor predict = model.predictor({.device = flags.device,
                                               .precision = flags.precision,
                                               .threads = flags.threads,
                                               .tune = bench::tune_options(flags.tune)});
    report(flags, run_calls(flags, predict, mnist.train), mnist.source);
  });
}
