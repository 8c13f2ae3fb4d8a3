// Training that writes itself down in a run. Programs that train nothing need only track.hpp.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/track.hpp"
#include "tenon/train.hpp"

namespace tenon {

struct TrackOptions {
  /// Ends the run with the training: complete(), or fail() with the reason where a step was halted (a loss that is not
  /// finite). False leaves that to the program, which may have more to log.
  bool end_run = true;
};

/// Logs every minibatch, under its step: `step/loss`, `step/accuracy` and so on, `step/lr`; in blocks, see Run::log_steps. And every epoch, from
/// 0: `epoch/loss`, `epoch/accuracy`, `epoch/val_loss`, ..., `epoch/lr`, `epoch/seconds`, `epoch/examples_per_second`.
/// A hook that stopped training is named in the tag `stopped_early`, by its reason.
/// When fit() throws, on_end is not reached: then the run's own destructor marks it failed.
class TrackHook : public Hook {
 public:
  /// `run` outlives the hook.
  explicit TrackHook(track::Run& run, TrackOptions options = {}) : run_(run), options_(options) {}
  void on_begin(std::int64_t steps_per_epoch, std::int32_t epochs) override;
  void on_steps(std::span<const StepRecord>, TrainControl&) override;
  void on_epoch(const EpochRecord&, TrainControl&) override;
  void on_end(const Summary&) override;

 private:
  track::Run& run_;
  TrackOptions options_;
  std::vector<std::string> names_;         // of the metrics, as they are logged
  std::vector<track::Run::Value> values_;  // of one step; kept for its memory
};

}  // namespace tenon
