// Whole training steps on MNIST, as mnist_cnn and mnist_mlp make them: fetch the next minibatch, forward, backward, update, loss and
// metric. From the host, the clock runs from before the loader gathers the minibatch until after the update. On a device that keeps
// the data, up to 32 steps are one recording that gathers by itself, as in Trainer::fit; the clock runs around it, and a step's
// time is its share.
#include <fmt/format.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/support/program.hpp"
#include "bench/support/recipe.hpp"
#include "lib/runtime/resident_steps.hpp"
#include "tenon/backend.hpp"
#include "tenon/data.hpp"
#include "tenon/program.hpp"

namespace {

using namespace tenon;
using Clock = std::chrono::steady_clock;

struct Flags {
  std::string model = "cnn", precision = "fp32", device = "auto", provider, feed = "auto";
  std::optional<std::string> data_folder, tune;
  std::int64_t batch = 0, steps = 100, warmup = 10;
  int threads = 0, together = StepBlock::most_steps;
  std::uint64_t seed = 1;
  bool json = false;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--model", f.model, "cnn or mlp")->check(CLI::IsMember({"cnn", "mlp"}))->capture_default_str();
  app.add_option("--data-folder", f.data_folder, "Folder with MNIST's four files, or whose subfolder mnist has them");
  app.add_option("--batch", f.batch, "Images in a minibatch; 0 for the model's: 128 (cnn), 64 (mlp)")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--precision", f.precision, "Arithmetic: fp32, tf32, bf16 or fp16")->capture_default_str();
  app.add_option("--device", f.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--provider", f.provider, "cpu.eigen, or conv2d=cpu.eigen,*=cpu.avx2");
  app.add_option("--threads", f.threads, "Threads on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--steps", f.steps, "Steps that are timed")->check(CLI::Range(1, 10000000))->capture_default_str();
  app.add_option("--warmup", f.warmup, "Steps before them")->check(CLI::Range(0, 10000000))->capture_default_str();
  app.add_option("--feed", f.feed,
                 "Where minibatches come from: device (which keeps the data), host, or auto: as Trainer does it")
      ->check(CLI::IsMember({"auto", "device", "host"}))
      ->capture_default_str();
  app.add_option("--together", f.together, "With data on the device: steps of a recording; 1 where a hook wants each")
      ->check(CLI::Range(1, int{StepBlock::most_steps}))
      ->capture_default_str();
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

Program make_program(const Flags& f, const Dataset& data) {
  CompileOptions c;
  for (const auto& [name, column] : data.inputs())
    c.inputs.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  for (const auto& [name, column] : data.targets())
    c.targets.push_back({name, column.sample_shape(), column.batch_spec(1).dtype});
  const bench::Recipe recipe = bench::recipe(f.model);
  c.loss = recipe.loss;
  c.optimizer = recipe.optimizer;
  c.metrics = {recipe.metric};
  c.run = {.device = f.device,
           .precision = f.precision,
           .providers = f.provider,
           .threads = f.threads,
           .seed = f.seed,
           .tune = bench::tune_options(f.tune)};
  return compile(bench::make_net(f.model), std::move(c));
}

struct Timing {
  std::vector<double> ms;  // a step
  std::int64_t steps = 0, warmup = 0, together = 1;
  double loss_first = 0, loss_last = 0;
};

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void note(Timing& t, const StepResult& r, std::int64_t step) {
  if (r.halted)
    throw NumericError(fmt::format("[step_bench] expects a finite loss, found {} at step {}", r.loss, step));
  if (step == 0) t.loss_first = r.loss;
  t.loss_last = r.loss;
}

/// An endless stream of full minibatches, so that every step does the same work.
Timing run_from_host(const Flags& f, Program& program, const Dataset& data) {
  Loader loader(data,
                {.batch_size = f.batch, .seed = f.seed, .continuous = true, .busy_threads = program.host_threads()});
  loader.start_epoch(0);
  Timing t{.steps = f.steps, .warmup = f.warmup};
  for (std::int64_t i = 0; i < t.warmup + t.steps; ++i) {
    const auto begin = Clock::now();
    const StepResult r = program.step(*loader.next());
    const double ms = milliseconds_since(begin);
    note(t, r, i);
    if (i >= t.warmup) t.ms.push_back(ms);
  }
  return t;
}

/// The same stream, gathered by the device. Steps and warm-up are rounded up to whole recordings; the first is made step by step
/// and the second recorded, so that at least two are warm-up.
Timing run_on_device(const Flags& f, ResidentSteps& resident) {
  const auto rounded = [&](std::int64_t steps) { return (steps + f.together - 1) / f.together * f.together; };
  Timing t{.steps = rounded(f.steps), .warmup = std::max<std::int64_t>(rounded(f.warmup), 2 * f.together)};
  t.together = f.together;
  for (std::int64_t at = 0; at < t.warmup + t.steps; at += f.together) {
    const auto begin = Clock::now();
    resident.train(at * f.batch, f.batch, f.together);
    for (int i = 0; i < f.together; ++i) note(t, resident.result(i), at + i);
    const double ms = milliseconds_since(begin) / f.together;
    if (at >= t.warmup) t.ms.push_back(ms);
  }
  return t;
}

Timing run_steps(const Flags& f, Program& program, const Dataset& data) {
  program.start_epoch(0);
  std::unique_ptr<ResidentSteps> resident;
  if (f.feed != "host") resident = ResidentSteps::make(program, data, {.seed = f.seed, .continuous = true});
  if (f.feed == "device" && resident == nullptr)
    throw UsageError(fmt::format("[--feed] {} cannot keep the data", backend(f.device).name()));
  return resident != nullptr ? run_on_device(f, *resident) : run_from_host(f, program, data);
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
        "{}\n{} batch {}: median {:.4f} ms, min {:.4f}, spread (p90-p10) {:.4f}, {:.0f} images/s, {} steps{}; loss "
        "{:.4f} to {:.4f}; "
        "arena {:.1f} MiB; kernels: {}\n",
        program.banner(), f.model, f.batch, median, least, spread, images, t.steps,
        t.together > 1 ? fmt::format(" in recordings of {}", t.together) : "", t.loss_first, t.loss_last,
        static_cast<double>(program.arena_bytes()) / (1 << 20), rows);
    return;
  }
  const nlohmann::ordered_json out{{"program", "tenon"},
                                   {"model", f.model},
                                   {"batch", f.batch},
                                   {"steps", t.steps},
                                   {"warmup", t.warmup},
                                   {"together", t.together},
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
    const bench::Recipe recipe = bench::recipe(flags.model);
    if (flags.batch == 0) flags.batch = recipe.batch;
    if (flags.threads == 0) flags.threads = backend(flags.device).default_threads();
    const MnistData mnist = bench::load_data(flags.data_folder);
    const Dataset data = recipe.data(mnist.train);
    Program program = make_program(flags, data);
    const Timing timing = run_steps(flags, program, data);
    report(flags, program, timing, mnist.source);
  });
}
