// From a program's flags and results to the calls of run tracking.
#include "tracking.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "tenon/error.hpp"
#include "tenon/track_mlflow.hpp"
#include "tenon/track_report.hpp"
#include "tenon/track_tensorboard.hpp"

namespace mnist {
namespace {

using namespace tenon;

track::Pairs parameters_of(const Flags& f) {
  return {{"batch_size", std::to_string(f.batch_size)},
          {"epochs", std::to_string(f.epochs)},
          {"learning_rate", fmt::format("{}", f.learning_rate)},
          {"precision", f.precision},
          {"seed", std::to_string(f.seed)}};
}

/// A digit that was taken for another one, and how sure the model was.
struct Mistake {
  std::int64_t image = 0;
  int digit = 0, taken_for = 0;
  double confidence = 0;
};

/// The largest of ten scores, and its share after a softmax: scores are logits, or probabilities, which their logarithms
/// are turned into.
Mistake judge(std::span<const float> scores, bool probabilities) {
  Mistake m;
  m.taken_for = static_cast<int>(std::ranges::max_element(scores) - scores.begin());
  const double best = scores[static_cast<std::size_t>(m.taken_for)];
  double sum = 0;
  for (const float s : scores) sum += std::exp(s - best);
  m.confidence = probabilities ? best : 1 / sum;
  return m;
}

}  // namespace

Tracking::Tracking(const Flags& flags, const std::string& banner, const std::string& data_source) : flags_(flags) {
  if (!flags.track) return;
  try {
    run_ = track::Experiment(flags.experiment, {.root = flags.runs})
               .start_run({.name = flags.program,
                           .params = parameters_of(flags),
                           .environment = {{"device", banner}, {"data", data_source}},
                           .strict = flags.strict_log});
    // The program has more to log when training is over.
    hook_.emplace(*run_, TrackOptions{.end_run = false});
    page_.emplace(run_->folder());
  } catch (const IoError& error) {
    if (flags.strict_log) throw;
    std::fprintf(stderr, "%s: %s; nothing is tracked\n", flags.program.c_str(), error.what());
  }
}

void FreshReport::on_epoch(const EpochRecord&, TrainControl&) {
  try {
    (void)track::write_report(track::RunView::open(folder_));
  } catch (const Error& error) {
    if (!warned_) std::fprintf(stderr, "%s\n", error.what());
    warned_ = true;
  }
}

void Tracking::add_hooks(std::vector<Hook*>& hooks) {
  if (hook_) hooks.push_back(&*hook_);
  if (page_) hooks.push_back(&*page_);
}

void Tracking::log(const std::string& name, double value) {
  if (run_) run_->log(name, value);
}
void Tracking::log(const std::string& name, std::span<const double> values) {
  if (run_) run_->log(name, values);
}

void Tracking::log_mistakes(const Array& scores, const Dataset& digits) {
  if (!run_) return;
  constexpr std::size_t shown = 25;
  constexpr int side = 28;
  const auto values = scores.values<float>();
  const auto truth = digits.targets().at(0).second.data.values<std::uint8_t>();
  const auto pixels = digits.inputs().at(0).second.data.values<std::uint8_t>();
  // Logits do not add up to one.
  double first = 0;
  for (std::size_t i = 0; i < 10; ++i) first += values[i];
  const bool probabilities = std::abs(first - 1) < 1e-3 && std::ranges::min(values.first(10)) >= 0;
  std::vector<std::int64_t> counts(100);
  std::vector<Mistake> mistakes;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    Mistake m = judge(values.subspan(10 * i, 10), probabilities);
    m.image = static_cast<std::int64_t>(i);
    m.digit = truth[i];
    ++counts[static_cast<std::size_t>(10 * m.digit + m.taken_for)];
    if (m.digit != m.taken_for) mistakes.push_back(m);
  }
  std::vector<std::string> labels;
  for (int digit = 0; digit < 10; ++digit) labels.push_back(std::to_string(digit));
  run_->log_confusion("test digits", labels, counts);
  std::ranges::stable_sort(mistakes, std::ranges::greater{}, &Mistake::confidence);
  mistakes.resize(std::min(mistakes.size(), shown));
  for (std::size_t i = 0; i < mistakes.size(); ++i) {
    const Mistake& m = mistakes[i];
    run_->log_image("mistakes", pixels.subspan(static_cast<std::size_t>(m.image) * side * side, side * side), side,
                    side, 1, static_cast<std::int64_t>(i),
                    fmt::format("{}, said {} with {:.1f}\u00a0%", m.digit, m.taken_for, 100 * m.confidence));
  }
}

std::string Tracking::register_weights(const Outputs& outputs) {
  const std::string file = std::filesystem::path(outputs.weights).filename().string();
  std::string name = *flags_.registered;
  if (name.empty()) {
    name = flags_.program;
    std::ranges::replace(name, '_', '-');
  }
  const track::ModelVersion model = run_->register_model(name, file);
  return fmt::format("{}\t{}\t{}\n", model.name, model.id, model.version);
}

void Tracking::finish(const Outputs& outputs) {
  if (!run_) return;
  std::error_code none;
  for (const std::string& file : {outputs.weights, outputs.epochs})
    if (std::filesystem::exists(file, none)) run_->add_file(file);
  if (flags_.registered) say("{}", register_weights(outputs));
  run_->complete();
  say("Run {}: {}\n", run_->id(), run_->folder());
  report();
}

void Tracking::fail(const std::string& reason) {
  if (!run_) return;
  run_->fail(reason);
  report();
}

void Tracking::report() const {
  try {
    const track::RunView view = track::RunView::open(run_->folder());
    say("Report: {}\n", track::write_report(view));
    (void)track::write_index(flags_.runs);
    if (flags_.tensorboard) say("TensorBoard: {}\n", track::export_tensorboard(view));
    if (!flags_.mlflow_uri.empty()) {
      const track::MlflowResult sent = track::sync_mlflow(view, {.uri = flags_.mlflow_uri});
      say("MLflow: run {}, {} values, {} files\n", sent.run_id, sent.metrics_sent, sent.files_sent);
    }
  } catch (const Error& error) {
    if (flags_.strict_log) throw;
    std::fprintf(stderr, "%s: %s\n", flags_.program.c_str(), error.what());
  }
}

}  // namespace mnist
