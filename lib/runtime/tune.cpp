// Choosing: what is kept, what is timed, how.
#include "lib/runtime/tune.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lib/io/file.hpp"
#include "lib/ops/attributes.hpp"
#include "lib/ops/in_place.hpp"
#include "lib/runtime/scratch_operands.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

#ifndef TENON_VERSION
#define TENON_VERSION "0.1.0"
#endif

namespace tenon {
namespace {

using detail::log;
using Clock = std::chrono::steady_clock;

constexpr int rounds = 5;
constexpr double sample_seconds = 2e-4;  // short runs are timed together
constexpr double hopeless = 4;           // times the best

/// Inputs and outputs of a problem on the device, the same memory for all rows.
struct Operands {
  Operands(Backend& device, const Problem& p, const op::AnyOp& any) {
    for (const Array& a : scratch_operands(any, {p.in, p.in + p.ins})) {
      memory.emplace_back(device, a.spec().bytes());
      if (a.spec().bytes() > 0) device.upload(memory.back().data(), a.bytes(), a.spec().bytes());
      device.synchronize();  // the array ends here
      in.push_back(memory.back().data());
    }
    for (int i = 0; i < p.outs; ++i) {
      const int shared = shared_input(p, i);
      if (shared < 0) memory.emplace_back(device, p.out[i].bytes());
      out.push_back(shared < 0 ? memory.back().data() : memory[static_cast<std::size_t>(shared)].data());
    }
  }
  std::vector<Slab> memory;
  std::vector<const void*> in;
  std::vector<void*> out;
};

/// A row with what its calls need.
class Candidate {
 public:
  Candidate(Backend& device, const Match& m, const Operands& operands, int threads)
      : device_(&device), match_(&m), workspace_(device, m.step.workspace), control_(device, sizeof(Control)) {
    call_.in = operands.in.data();
    call_.out = operands.out.data();
    call_.workspace = workspace_.data();
    call_.control = reinterpret_cast<Control*>(control_.data());
    call_.state = m.step.state.get();
    call_.threads = threads;
    call_.stream = device.stream();
  }
  /// Seconds of a run: the mean of `calls`.
  double run(int calls) {
    Control control;
    control.lr = 1e-3f;
    control.micro = 1;
    device_->upload(control_.data(), &control, sizeof control);
    device_->synchronize();
    const auto begin = Clock::now();
    for (int i = 0; i < calls; ++i) match_->step.run(call_);
    device_->synchronize();
    return std::chrono::duration<double>(Clock::now() - begin).count() / calls;
  }

 private:
  Backend* device_;
  const Match* match_;
  Slab workspace_, control_;
  Call call_;
};

/// Seconds of a run of each, the least of several: one run to warm up, then in turn, so that whatever slows the machine down
/// for a while slows all of them. One that takes four times as long as another is not run again.
std::vector<double> time_rows(Backend& device, const Problem& p, const op::AnyOp& any,
                              const std::vector<Match>& matches, int threads) {
  const std::lock_guard lock(device.mutex());
  const Operands operands(device, p, any);
  std::vector<Candidate> candidates;
  candidates.reserve(matches.size());
  for (const Match& m : matches) candidates.emplace_back(device, m, operands, threads);
  std::vector<double> least;
  std::vector<int> calls;
  for (Candidate& c : candidates) {
    (void)c.run(1);  // first touch of memory and code
    least.push_back(c.run(1));
    calls.push_back(static_cast<int>(std::clamp(sample_seconds / std::max(least.back(), 1e-9), 1., 100.)));
  }
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (least[i] > hopeless * *std::min_element(least.begin(), least.end())) continue;
      least[i] = std::min(least[i], candidates[i].run(calls[i]));
    }
  return least;
}

}  // namespace

Tuner::Tuner(Backend& device, const RowSet& rows, const Options& run)
    : device_(&device),
      rows_(&rows),
      tune_(run.tune),
      context_{TENON_VERSION, device.name() + ": " + device.description(), rows.threads(), run.precision,
               rows.providers()} {
  if (tune_.read.empty()) return;
  TuneFile file = read_tune_file(tune_.read, context_);
  if (file.context == context_) {
    for (TuneChoice& c : file.choices) choices_.emplace(c.problem, std::move(c));
    changed_ = tune_.write != tune_.read;  // a copy goes with the run
    return;
  }
  log(LogLevel::warning,
      fmt::format("[tune] {} is left aside{}: expected {}, found {}", shown(tune_.read),
                  tune_.measure ? " and kernels are timed anew" : "", context_.str(), file.context.str()));
}

Match Tuner::bind(const Problem& problem, const op::AnyOp& any) {
  if (std::holds_alternative<op::CustomOp>(any)) return rows_->bind(problem, any);
  const std::string text = text_of(problem, any);
  const auto known = choices_.find(text);
  if (known == choices_.end()) return tune_.measure ? measured(text, problem, any) : rows_->bind(problem, any);
  std::vector<Match> matches = rows_->choices(problem, any);
  std::string names;
  for (Match& m : matches) {
    if (row_name(*m.row) == known->second.row) return std::move(m);
    names += (names.empty() ? "" : ", ") + row_name(*m.row);
  }
  throw DataError(fmt::format("[tune] {}: '{}' expects one of {}, found {}", shown(tune_.read), text, names,
                              shown(known->second.row)));
}

Match Tuner::measured(const std::string& text, const Problem& problem, const op::AnyOp& any) {
  std::vector<Match> matches = rows_->choices(problem, any);
  TuneChoice choice{text, row_name(*matches.front().row), {}};
  std::size_t best = 0;
  if (matches.size() > 1) {
    const std::vector<double> seconds = time_rows(*device_, problem, any, matches, rows_->threads());
    best = static_cast<std::size_t>(std::min_element(seconds.begin(), seconds.end()) - seconds.begin());
    choice.row = row_name(*matches[best].row);
    std::string figures;
    for (std::size_t i = 0; i < matches.size(); ++i) {
      const double us = std::round(1e8 * seconds[i]) / 100;
      choice.microseconds.emplace_back(row_name(*matches[i].row), us);
      figures += fmt::format("{}{} {:.2f} us", i == 0 ? "" : ", ", row_name(*matches[i].row), us);
    }
    if (detail::verbose("dispatch")) log(LogLevel::info, fmt::format("tune: {}: {}", text, figures));
  }
  choices_.emplace(text, std::move(choice));
  changed_ = true;
  return std::move(matches[best]);
}

void Tuner::save() {
  if (!changed_ || tune_.write.empty()) return;
  TuneFile file{context_, {}};
  for (const auto& [problem, choice] : choices_) file.choices.push_back(choice);
  write_tune_file(tune_.write, file);
  changed_ = false;
}

std::unique_ptr<Tuner> make_tuner(Backend& device, const RowSet& rows, const Options& run) {
  if (!run.tune.measure && run.tune.read.empty()) {
    if (!run.tune.write.empty()) throw UsageError("[tune] expects measure or a file to read, found only one to write");
    return nullptr;
  }
  return std::make_unique<Tuner>(device, rows, run);
}

}  // namespace tenon
