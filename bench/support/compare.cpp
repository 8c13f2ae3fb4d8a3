// Names take turns within a round, so that whatever slows the machine down for a while slows all of them; the median over
// the rounds stands in the table, and the distance between the 10th and the 90th percentile beside it.
#include "bench/support/compare.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "bench/support/program.hpp"
#include "bench/support/run_row.hpp"
#include "lib/passes/row_set.hpp"

namespace tenon::bench {
namespace {

using nlohmann::json;

constexpr double sample_seconds = 0.004;

struct Choice {
  std::string provider;
  Precision precision;  // of the row; at most that of the run
  Step step;
};

/// One name: a provider of a device, or a device with its choice of rows.
class Contender {
 public:
  /// Throws UsageError for a name that is not there.
  Contender(const std::string& name, const CompareOptions& o)
      : name_(name),
        is_device_(device_name(name)),
        backend_(&backend(is_device_                  ? name
                          : name.starts_with("cuda.") ? "cuda"
                                                      : o.device)),
        threads_(o.threads > 0 ? o.threads : backend_->default_threads()),
        precision_(precision_of(o.precision)),
        rows_(*backend_, {.precision = o.precision, .providers = is_device_ ? "" : name, .threads = threads_}) {}
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] Backend& device() const { return *backend_; }
  [[nodiscard]] int threads() const { return threads_; }

  /// The row that this name runs, or why there is none.
  [[nodiscard]] std::variant<Choice, Refusal> bind(const BenchProblem& p) const {
    if (is_device_) {
      try {
        Match m = rows_.bind(p.problem, p.form.op);
        return Choice{std::string(m.row->provider), m.row->precision, std::move(m.step)};
      } catch (const UsageError& e) {
        return Refusal{e.what()};
      }
    }
    std::string why = "no row for this operation";
    Problem problem = p.problem;
    problem.threads = threads_;
    for (const Kernel& row : backend_->kernels()) {
      if (row.op != p.problem.kind || row.provider != name_ || !takes_rows(precision_, row.precision)) continue;
      Bound bound = row.bind(problem, row);
      if (auto* step = std::get_if<Step>(&bound)) return Choice{name_, row.precision, std::move(*step)};
      why = std::get<Refusal>(bound).why;
    }
    return Refusal{why};
  }

 private:
  static bool device_name(const std::string& name) {
    return name == "cpu" || name == "cuda" || name.starts_with("cuda:");
  }

  std::string name_;
  bool is_device_;
  Backend* backend_;
  int threads_;
  Precision precision_;
  RowSet rows_;
};

/// One cell of the table.
struct Result {
  std::string provider, refusal;
  Precision precision = Precision::fp32;
  std::vector<double> samples, cold;  // seconds a call; none of cold where it is not asked for, or cannot be
  [[nodiscard]] bool ran() const { return !samples.empty(); }
  [[nodiscard]] double median() const { return quantile(samples, 0.5); }
  [[nodiscard]] double spread() const { return quantile(samples, 0.9) - quantile(samples, 0.1); }
};

/// Rows in turn, round after round, and what each call of theirs takes.
class Race {
 public:
  void add(BoundRow row, std::vector<double>& samples) { runners_.push_back({std::move(row), &samples, 0}); }
  void run(int rounds) {
    for (Runner& r : runners_) {
      (void)r.row.seconds(1);  // first touch of workspace and code
      r.calls = 1 + static_cast<std::int64_t>(sample_seconds / std::max(r.row.seconds(1), 1e-8));
    }
    for (int round = 0; round < rounds; ++round)
      for (Runner& r : runners_) r.samples->push_back(r.row.seconds(r.calls) / static_cast<double>(r.calls));
  }

 private:
  struct Runner {
    BoundRow row;
    std::vector<double>* samples;
    std::int64_t calls;
  };
  std::vector<Runner> runners_;
};

std::vector<Result> race(const BenchProblem& p, const std::vector<Contender>& contenders, const CompareOptions& o) {
  std::vector<Result> results(contenders.size());
  // One after the other, so that the copies of cold operands take memory only while they are needed.
  for (const Caches caches : {Caches::warm, Caches::cold}) {
    if (caches == Caches::cold && !(o.cold && Operands::can_be_cold(p))) continue;
    Race race;
    std::map<const Backend*, std::shared_ptr<Operands>> operands;  // the same values on every device
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      auto bound = contenders[i].bind(p);
      if (auto* refusal = std::get_if<Refusal>(&bound)) {
        results[i].refusal = refusal->why;
        continue;
      }
      auto& [provider, precision, step] = std::get<Choice>(bound);
      Backend& device = contenders[i].device();
      std::shared_ptr<Operands>& own = operands[&device];
      if (own == nullptr) own = std::make_shared<Operands>(device, p, o.alive, caches);
      results[i].provider = provider;
      results[i].precision = precision;
      race.add(BoundRow(provider, std::move(step), own, contenders[i].threads()),
               caches == Caches::warm ? results[i].samples : results[i].cold);
    }
    race.run(o.rounds);
  }
  return results;
}

struct Line {
  const BenchProblem* problem;
  double alive;
  std::vector<Result> results;
};

/// Share of the peak that limits the operation: of the host's as measured, of a device's as it says of itself.
double share_of_peak(const Line& line, const Result& r, const Backend& device, const Peaks& peaks) {
  const Cost& c = line.problem->cost;
  const bool arithmetic = is_contraction(line.problem->problem.kind);
  if (!device.on_host()) {
    const Peak peak = device.peak(1);
    const double limit = arithmetic ? peak.flops : peak.bandwidth;
    return limit > 0 ? (arithmetic ? c.flops : c.bytes) / r.median() / limit : 0;
  }
  if (arithmetic) return c.flops / r.median() / peaks.flops(r.provider);
  return c.bytes / r.median() / peaks.bandwidth();
}

std::string threads_text(int threads) { return fmt::format("{} thread{}", threads, threads == 1 ? "" : "s"); }

std::string time_text(double seconds) {
  return seconds < 1e-4 ? fmt::format("{:.2f} us", seconds * 1e6) : fmt::format("{:.3f} ms", seconds * 1e3);
}

void print_table(const std::vector<Line>& lines, const std::vector<Contender>& contenders, const CompareOptions& o,
                 const Peaks& peaks) {
  std::set<const Backend*> devices;
  for (const Contender& c : contenders)
    if (devices.insert(&c.device()).second)
      fmt::print("{}: {}{}\n", c.device().name(), c.device().description(),
                 c.device().on_host() ? fmt::format("; {} in use; {}", threads_text(c.threads()), peaks.str()) : "");
  fmt::print("{} rounds in turn, medians; spread is p90 - p10\n\n", o.rounds);
  std::string head = "| operation | alive |", rule = "| --- | ---: |";
  for (const Contender& c : contenders) {
    head += fmt::format(" {} | spread |{} rate | of peak |", c.name(), o.cold ? " from memory |" : "");
    rule += o.cold ? " ---: | ---: | ---: | ---: | ---: |" : " ---: | ---: | ---: | ---: |";
  }
  for (std::size_t i = 1; i < contenders.size(); ++i) {
    head += fmt::format(" {} / {} |", contenders[i].name(), contenders[0].name());
    rule += " ---: |";
  }
  fmt::print("{}\n{}\n", head, rule);
  for (const Line& line : lines) {
    const bool arithmetic = is_contraction(line.problem->problem.kind);
    std::string text =
        fmt::format("| {} | {} |", line.problem->name, line.alive < 1 ? fmt::format("{:.2f}", line.alive) : "");
    for (std::size_t i = 0; i < line.results.size(); ++i) {
      const Result& r = line.results[i];
      if (!r.ran()) {
        text += o.cold ? " refuses | | | | |" : " refuses | | | |";
        continue;
      }
      const double work = arithmetic ? line.problem->cost.flops : line.problem->cost.bytes;
      const std::string cold = r.cold.empty() ? "" : time_text(quantile(r.cold, 0.5));
      text +=
          fmt::format(" {} | {:.0f} % |{} {:.1f} {} | {:.0f} % |", time_text(r.median()), 100 * r.spread() / r.median(),
                      o.cold ? fmt::format(" {} |", cold) : "", work / r.median() * 1e-9,
                      arithmetic ? "GFLOP/s" : "GB/s", 100 * share_of_peak(line, r, contenders[i].device(), peaks));
    }
    for (std::size_t i = 1; i < line.results.size(); ++i) {
      const bool both = line.results[0].ran() && line.results[i].ran();
      text += both ? fmt::format(" {:.2f} |", line.results[i].median() / line.results[0].median()) : " |";
    }
    fmt::print("{}\n", text);
  }
}

json to_json(const Line& line, const std::vector<Contender>& contenders, const Peaks& peaks) {
  json results = json::object();
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const Result& r = line.results[i];
    if (!r.ran()) {
      results[contenders[i].name()] = {{"refuses", r.refusal}};
      continue;
    }
    results[contenders[i].name()] = {{"provider", r.provider},
                                     {"precision", name_of(r.precision)},
                                     {"median_ms", 1e3 * r.median()},
                                     {"min_ms", 1e3 * quantile(r.samples, 0)},
                                     {"spread_ms", 1e3 * r.spread()},
                                     {"gflops", line.problem->cost.flops / r.median() * 1e-9},
                                     {"gbs", line.problem->cost.bytes / r.median() * 1e-9},
                                     {"percent_of_peak", 100 * share_of_peak(line, r, contenders[i].device(), peaks)},
                                     {"threads", contenders[i].threads()}};
    if (!r.cold.empty()) results[contenders[i].name()]["cold_median_ms"] = 1e3 * quantile(r.cold, 0.5);
  }
  return {{"name", line.problem->name},
          {"problem", line.problem->problem.str()},
          {"alive", line.alive},
          {"results", results}};
}

void print_json(const std::vector<Line>& lines, const std::vector<Contender>& contenders, const CompareOptions& o,
                const Peaks& peaks) {
  json fma = json::object(), rows = json::array();
  for (const std::string& isa : peaks.names()) fma[isa] = peaks.flops("cpu." + isa) * 1e-9;
  for (const Line& line : lines) rows.push_back(to_json(line, contenders, peaks));
  const json all{{"device", contenders[0].device().name()},
                 {"description", contenders[0].device().description()},
                 {"precision", o.precision},
                 {"threads", contenders[0].threads()},
                 {"rounds", o.rounds},
                 {"fma_peak_gflops", fma},
                 {"copy_peak_gbs", peaks.bandwidth() * 1e-9},
                 {"copy_bytes", peaks.copy_bytes()},
                 {"rows", rows}};
  fmt::print("{}\n", all.dump());
}

}  // namespace

void compare(const std::vector<BenchProblem>& problems, const CompareOptions& o, Peaks& peaks) {
  std::vector<Contender> contenders;
  for (const std::string& name : o.names) contenders.emplace_back(name, o);
  std::vector<Line> lines;
  for (const BenchProblem& p : problems) {
    std::vector<Result> results = race(p, contenders, o);
    if (std::none_of(results.begin(), results.end(), [](const Result& r) { return r.ran(); })) continue;
    lines.push_back({&p, alive_share(p, o.alive), std::move(results)});
    // The peaks see the same conditions as the kernels: once more after every few problems.
    if (lines.size() % 4 == 0) peaks.measure();
  }
  if (lines.empty()) throw UsageError(fmt::format("[--compare] no problem that {} takes", fmt::join(o.names, " or ")));
  if (o.json)
    print_json(lines, contenders, o, peaks);
  else
    print_table(lines, contenders, o, peaks);
}

}  // namespace tenon::bench
