// Whole training steps on MNIST, as mnist_cnn and mnist_mlp make them: fetch the next minibatch from the loader, forward,
// backward, update, loss and metric. The clock runs from before the fetch until after the update.
#include <fmt/format.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/support/models.hpp"
#include "bench/support/program.hpp"
#include "tenon/backend.hpp"
#include "tenon/data.hpp"
#include "tenon/program.hpp"

namespace {

using namespace tenon;
using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model = "cnn", precision = "fp32", device = "auto", provider;
  std::optional<std::string> data_folder, tune;
  std::int64_t batch = 0, steps = 100, warmup = 10;
  int threads = 0;
  std::uint64_t seed = 1;
  bool json = false;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--model", f.model, "cnn or mlp")->check(CLI::IsMember({"cnn", "mlp"}))->capture_default_str();
  app.add_option("--data-folder", f.data_folder, "Folder with MNIST's four files, or whose subfolder mnist has them");
  app.add_option("--batch", f.batch, "Images in a minibatch; 0 for the model's: 128 (cnn), 64 (mlp)")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--precision", f.precision, "Arithmetic: fp32, tf32 or bf16")->capture_default_str();
  app.add_option("--device", f.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--provider", f.provider, "cpu.eigen, or conv2d=cpu.eigen,*=cpu.avx2");
  app.add_option("--threads", f.threads, "Threads on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--steps", f.steps, "Steps that are timed")->check(CLI::Range(1, 10000000))->capture_default_str();
  app.add_option("--warmup", f.warmup, "Steps before them")->check(CLI::Range(0, 10000000))->capture_default_str();
  app.add_option("--seed", f.seed, "Of the initial weights, the order of the images and the dropout")
      ->capture_default_str();
  app.add_option(
         "--tune", f.tune,
         "Time the kernels that may run each problem first and keep the fastest; choices that FILE has for this\n"
         "machine are kept, new ones are added to it")
      ->type_name("[FILE]")
      ->expected(0, 1);
  app.add_flag("--json", f.json, "Print one JSON object");
}

/// The CNN's targets, as its seed has them: 1 for the digit, 0 elsewhere.
Dataset one_hot(const Dataset& digits) {
  const Array& labels = digits.targets().at(0).second.data;
  Array rows(DType::f32, {digits.size(), 10});
  const auto to = rows.values<float>();
  for (std::int64_t i = 0; i < digits.size(); ++i)
    to[static_cast<std::size_t>(10 * i) + static_cast<std::size_t>(labels.at(i))] = 1.f;
  return Dataset(digits.inputs(), {{digits.targets()[0].first, Column{rows}}});
}

Program make_program(const Flags& f, const Dataset& data) {
  CompileOptions c;
  for (const auto& [name, column] : data.inputs())
    c.inputs.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  for (const auto& [name, column] : data.targets())
    c.targets.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  const bool cnn = f.model == "cnn";
  if (cnn) {
    c.loss = categorical_crossentropy;
    c.optimizer = Adadelta{.lr = 1.f, .rho = 0.95f, .epsilon = 1e-7f};
    c.metrics = {{.output = "", .criterion = accuracy}};
  } else {
    c.loss = softmax_crossentropy;
    c.optimizer = Sgd{.lr = 0.2f};
    c.metrics = {{.output = "", .criterion = error_rate}};
  }
  c.run = {.device = f.device,
           .precision = f.precision,
           .providers = f.provider,
           .threads = f.threads,
           .seed = f.seed,
           .tune = bench::tune_options(f.tune)};
  return compile(bench::make_net(f.model), std::move(c));
}

struct Timing {
  std::vector<double> ms;
  double loss_first = 0, loss_last = 0;
};

Timing run_steps(const Flags& f, Program& program, const Dataset& data) {
  // An endless stream of full minibatches, so that every step does the same work.
  Loader loader(data, {.batch_size = f.batch, .seed = f.seed, .continuous = true});
  loader.start_epoch(0);
  program.start_epoch(0);
  Timing t;
  t.ms.reserve(static_cast<std::size_t>(f.steps));
  for (std::int64_t i = 0; i < f.warmup + f.steps; ++i) {
    const auto begin = Clock::now();
    const StepResult r = program.step(*loader.next());
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (r.halted) throw NumericError(fmt::format("[step_bench] expects a finite loss, found {} at step {}", r.loss, i));
    if (i == 0) t.loss_first = r.loss;
    if (i >= f.warmup) t.ms.push_back(ms);
    t.loss_last = r.loss;
  }
  return t;
}

void report(const Flags& f, Program& program, const Timing& t, const std::string& source) {
  std::map<std::string, int> providers;
  for (const PlanEntry& e : program.plan(Program::Mode::train, f.batch)) ++providers[e.provider];
  const double median = bench::quantile(t.ms, 0.5), least = bench::quantile(t.ms, 0);
  const double spread = bench::quantile(t.ms, 0.9) - bench::quantile(t.ms, 0.1);
  const double images = 1e3 * static_cast<double>(f.batch) / median;
  if (!f.json) {
    std::string rows;
    for (const auto& [name, count] : providers) rows += fmt::format("{}{} {}", rows.empty() ? "" : ", ", name, count);
    fmt::print(
        "{}\n{} batch {}: median {:.3f} ms, min {:.3f}, spread (p90-p10) {:.3f}, {:.0f} images/s, {} steps; loss "
        "{:.4f} to {:.4f}; "
        "arena {:.1f} MiB; kernels: {}\n",
        program.banner(), f.model, f.batch, median, least, spread, images, f.steps, t.loss_first, t.loss_last,
        static_cast<double>(program.arena_bytes()) / (1 << 20), rows);
    return;
  }
  const nlohmann::ordered_json out{{"program", "tenon"},
                                   {"model", f.model},
                                   {"batch", f.batch},
                                   {"steps", f.steps},
                                   {"warmup", f.warmup},
                                   {"median_ms", median},
                                   {"min_ms", least},
                                   {"spread", spread},
                                   {"images_per_s", images},
                                   {"loss_first", t.loss_first},
                                   {"loss_last", t.loss_last},
                                   {"device", backend(f.device).name()},
                                   {"threads", f.threads},
                                   {"precision", f.precision},
                                   {"banner", program.banner()},
                                   {"providers", providers},
                                   {"arena_bytes", program.arena_bytes()},
                                   {"data", source}};
  fmt::print("{}\n", out.dump());
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Time of whole training steps on MNIST.", "step_bench");
  describe(app, flags);
  return bench::run_program("step_bench", app, [&] {
    app.parse(argc, argv);
    if (flags.batch == 0) flags.batch = flags.model == "cnn" ? 128 : 64;
    if (flags.threads == 0) flags.threads = backend(flags.device).default_threads();
    const MnistData mnist =
        load_mnist({.data_folder = flags.data_folder, .offline = true, .log = [](const std::string& line) {
                      std::fprintf(stderr, "%s\n", line.c_str());
                    }});
    const Dataset data = flags.model == "cnn" ? one_hot(mnist.train) : mnist.train;
    Program program = make_program(flags, data);
    const Timing timing = run_steps(flags, program, data);
    report(flags, program, timing, mnist.source);
  });
}
