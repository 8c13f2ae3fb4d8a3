// The run that a program writes down: what it was asked for, every minibatch, what the model gets wrong, and its weights.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common.hpp"
#include "tenon/track.hpp"
#include "tenon/track_hook.hpp"

namespace mnist {

/// Writes the run's page anew when an epoch is over, for a browser that follows it.
class FreshReport : public tenon::Hook {
 public:
  explicit FreshReport(std::string folder) : folder_(std::move(folder)) {}
  void on_epoch(const tenon::EpochRecord&, tenon::TrainControl&) override;

 private:
  std::string folder_;
  bool warned_ = false;
};

class Tracking {
 public:
  /// Starts a run, unless --no-track. One that cannot be started is a warning, or IoError with --strict-log.
  Tracking(const Flags& flags, const std::string& banner, const std::string& data_source);

  /// Adds what training passes through; nothing without a run.
  void add_hooks(std::vector<tenon::Hook*>& hooks);
  void log(const std::string& name, double value);
  void log(const std::string& name, std::span<const double> values);
  /// The confusion matrix of (n, 10) scores, and the images of the 25 mistakes that the model is surest of.
  void log_mistakes(const tenon::Array& scores, const tenon::Dataset& digits);
  /// Takes the files along, registers the weights where --register asks for it, ends the run and says where it is.
  void finish(const Outputs& outputs);
  /// Ends it with what kept training from its end.
  void fail(const std::string& reason);

 private:
  [[nodiscard]] std::string register_weights(const Outputs& outputs);
  void report() const;

  const Flags& flags_;
  std::optional<tenon::track::Run> run_;
  std::optional<tenon::TrackHook> hook_;
  std::optional<FreshReport> page_;
};

}  // namespace mnist
