// Kernels one at a time: every row of the device's table that accepts a problem is a benchmark, named
// operation/problem/provider. With --compare, one table of providers or devices side by side.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <omp.h>

#include <regex>

#include "bench/support/compare.hpp"
#include "bench/support/program.hpp"
#include "bench/support/run_row.hpp"
#include "tenon/backend.hpp"

namespace {

using namespace tenon;
using namespace tenon::bench;

struct Flags {
  std::string device = "auto", filter, precision = "fp32";
  std::vector<std::string> compare;
  int threads = 0, rounds = 15;
  double alive = 0.04;
  bool json = false, cases = false, large = false, cold = false;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--compare", f.compare, "Providers or devices: print one Markdown table with their ratios")
      ->delimiter(',')
      ->type_name("A,B");
  app.add_option("--filter", f.filter, "Regular expression that a name operation/problem has to match somewhere")
      ->type_name("REGEX");
  app.add_option("--device", f.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--precision", f.precision, "With --compare: rows up to this class: fp32, tf32, bf16 or fp16")
      ->capture_default_str();
  app.add_option("--threads", f.threads, "Threads of a kernel on the CPU; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--rounds", f.rounds, "Turns that each name gets with --compare")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--alive", f.alive, "Share of live terms behind a fused 2x2 pool, before the pool")
      ->check(CLI::Range(0.0, 0.25))
      ->capture_default_str();
  app.add_flag("--cases", f.cases, "The small problems of the tests instead: the cost of a call");
  app.add_flag("--large", f.large, "The product of two matrices of 4096 x 4096 instead")->excludes("--cases");
  app.add_flag("--cold", f.cold,
               "Also with operands in memory: calls go round 128 MiB of copies. Left out where a problem is too small");
  app.add_flag("--json", f.json, "Print JSON");
  app.footer("Flags that begin with --benchmark_ go to Google Benchmark:");
  app.allow_extras();
}

std::vector<BenchProblem> chosen_problems(const Flags& f) {
  std::vector<BenchProblem> all = f.cases ? test_problems() : f.large ? large_problems() : mnist_problems();
  if (!f.cases && !f.large) std::ranges::move(general_problems(), std::back_inserter(all));
  try {
    const std::regex filter(f.filter);
    std::erase_if(all, [&](const BenchProblem& p) { return !std::regex_search(p.name, filter); });
  } catch (const std::regex_error& e) {
    throw UsageError(fmt::format("[--filter] expects a regular expression, found '{}': {}", f.filter, e.what()));
  }
  if (all.empty()) throw UsageError(fmt::format("[--filter] no problem matches '{}'", f.filter));
  return all;
}

/// The operands of the problem that runs now: the rows of a problem follow each other.
std::shared_ptr<Operands> operands_of(Backend& device, const BenchProblem& p, double alive, Caches caches) {
  static std::pair<const BenchProblem*, Caches> last{nullptr, Caches::warm};
  static std::shared_ptr<Operands> kept;
  if (last != std::pair{&p, caches}) {
    kept.reset();
    kept = std::make_shared<Operands>(device, p, alive, caches);
    last = {&p, caches};
  }
  return kept;
}

/// Calls that take a device some two milliseconds together: the host's launch and wait, of some ten microseconds, are counted
/// with them.
std::int64_t calls_together(BoundRow& bound) {
  constexpr double together = 0.002;
  constexpr std::int64_t few = 20;
  (void)bound.seconds(few);
  const double one = bound.seconds(few) / static_cast<double>(few);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(together / std::max(one, 1e-9)), few,
                                  Operands::most_copies);
}

/// What a call of `seconds` comes to, and its share of what limits the operation; 0 where that is not known.
void count_rates(benchmark::State& state, const BenchProblem& p, double seconds, const Peak& peak, double alive) {
  const double flops = p.cost.flops / seconds, bytes = p.cost.bytes / seconds;
  const bool arithmetic = is_contraction(p.problem.kind);
  const double limit = arithmetic ? peak.flops : peak.bandwidth;
  state.counters["GFLOP/s"] = flops * 1e-9;
  state.counters["GB/s"] = bytes * 1e-9;
  state.counters["%peak"] = limit > 0 ? 100 * (arithmetic ? flops : bytes) / limit : 0;
  state.counters["alive"] = alive_share(p, alive);
}

/// A device that is not the host runs many calls as one recording, and each counts as an iteration.
void run_on_device(benchmark::State& state, Backend& device, const BenchProblem& p, const Kernel& row, const Flags& f,
                   Caches caches) {
  BoundRow bound(std::string(row.provider), std::get<Step>(row.bind(p.problem, row)),
                 operands_of(device, p, f.alive, caches), 1);
  const std::int64_t calls = calls_together(bound);
  (void)bound.seconds(calls);
  double seconds = 0;
  std::int64_t made = 0;
  while (state.KeepRunningBatch(calls)) {
    const double all = bound.seconds(calls);
    state.SetIterationTime(all);
    seconds += all;
    made += calls;
  }
  seconds /= static_cast<double>(made);
  count_rates(state, p, seconds, device.peak(1), f.alive);
}

void run(benchmark::State& state, Backend& device, const BenchProblem& p, const Kernel& row, const Flags& f,
         const Peaks& peaks, Caches caches) {
  if (!device.on_host()) {
    run_on_device(state, device, p, row, f, caches);
    return;
  }
  BoundRow bound(std::string(row.provider), std::get<Step>(row.bind(p.problem, row)),
                 operands_of(device, p, f.alive, caches), f.threads);
  bound.run();
  // Rates by the clock on the wall: the benchmark's own would be by the processor time of one thread.
  const double begin = omp_get_wtime();
  for (auto _ : state) bound.run();
  const double seconds = (omp_get_wtime() - begin) / static_cast<double>(state.iterations());
  count_rates(state, p, seconds, {.flops = peaks.flops(row.provider), .bandwidth = peaks.bandwidth()}, f.alive);
}

/// Hands Google Benchmark its flags, whose memory it keeps for its report. What it does not know is an error.
void initialize(const std::vector<std::string>& extras) {
  static std::vector<std::string> flags{"kernels_bench"};
  flags.insert(flags.end(), extras.begin(), extras.end());
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  auto argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
  if (argc > 1) throw UsageError(fmt::format("[command line] unknown flag '{}'", argv[1]));
}

void run_benchmarks(const std::vector<BenchProblem>& problems, const Flags& f, Peaks& peaks, Backend& device,
                    std::vector<std::string> extras) {
  if (f.json)
    extras.insert(extras.begin(), "--benchmark_format=json");
  else
    extras.insert(extras.begin(), "--benchmark_counters_tabular=true");
  initialize(extras);
  for (int i = 0; i < 8; ++i) peaks.measure();
  benchmark::AddCustomContext("device", device.name() + ": " + device.description());
  benchmark::AddCustomContext("peaks", peaks.str());
  std::size_t count = 0;
  const auto add = [&](const BenchProblem& p, const Kernel& row, Caches caches) {
    std::string name = p.name + "/" + std::string(row.provider);
    if (row.precision != Precision::fp32) name += std::string("/") + name_of(row.precision);
    if (caches == Caches::cold) name += "/cold";
    benchmark::internal::Benchmark* registered =
        benchmark::RegisterBenchmark(name.c_str(), [&device, &p, &row, &f, &peaks, caches](benchmark::State& s) {
          run(s, device, p, row, f, peaks, caches);
        })->Unit(benchmark::kMicrosecond);
    if (!device.on_host()) registered->UseManualTime();
    ++count;
  };
  for (const BenchProblem& p : problems)
    for (const Caches caches : {Caches::warm, Caches::cold}) {
      if (caches == Caches::cold && !(f.cold && Operands::can_be_cold(p))) continue;
      for (const Kernel& row : device.kernels())
        if (row.op == p.problem.kind && std::holds_alternative<Step>(row.bind(p.problem, row))) add(p, row, caches);
    }
  if (count == 0) throw UsageError(fmt::format("[{}] no row takes any of {} problems", device.name(), problems.size()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Speed of every kernel, against the FMA and copy rates measured in the same process.", "kernels_bench");
  describe(app, flags);
  return run_program("kernels_bench", app, [&] {
    try {
      app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      fmt::print("{}", app.help());
      std::fflush(stdout);
      initialize({"--help"});  // prints its flags and ends the program
      return;
    }
    const std::vector<std::string> extras = app.remaining();
    for (const std::string& e : extras)
      if (!e.starts_with("--benchmark_")) throw UsageError(fmt::format("[command line] unknown flag '{}'", e));
    if (!flags.compare.empty() && !extras.empty())
      throw UsageError(fmt::format("[--compare] does not run Google Benchmark, found '{}'", extras[0]));
    Backend& device = backend(flags.device);
    std::vector<BenchProblem> problems = chosen_problems(flags);
    // Peaks are the host's. A device measures its own; it takes no threads.
    const int host_threads = flags.threads > 0 ? flags.threads : backend("cpu").default_threads();
    Peaks peaks(host_threads);
    if (flags.compare.empty()) {
      flags.threads = device.on_host() ? host_threads : 1;
      for (BenchProblem& p : problems) p.problem.threads = flags.threads;
      run_benchmarks(problems, flags, peaks, device, extras);
      return;
    }
    for (int i = 0; i < 8; ++i) peaks.measure();
    compare(problems,
            {.names = flags.compare,
             .device = flags.device,
             .precision = flags.precision,
             .threads = flags.threads,
             .rounds = flags.rounds,
             .alive = flags.alive,
             .cold = flags.cold,
             .json = flags.json},
            peaks);
  });
}
