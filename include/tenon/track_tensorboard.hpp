// A run for TensorBoard: event files in <run>/tensorboard/, which `tensorboard --logdir runs` finds by itself.
// TensorBoard keeps 1,000 points of a metric, 10 images and 100 texts of a tag unless told otherwise:
// --samples_per_plugin scalars=100000,images=1000,text=1000.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "tenon/track.hpp"

namespace tenon::track {

/// Follows a run into one event file: metrics (as 32-bit floats, which is all that TensorBoard has), images, what its page
/// of hyper-parameters shows, and as texts: captions (<image>/captions), tables of log_confusion (confusion/<name>, a step
/// for each of one name) and the run's tags (tags, a step for each time that they were found changed).
///
///   TensorboardWriter writer(view);
///   do writer.write(view); while (... view.refresh() ...);
///
/// The file is complete by itself: the first write() starts at the run's first point and then removes the files of
/// earlier writers, so that no point shows twice.
class TensorboardWriter {
 public:
  /// Starts the file. Throws IoError, and UsageError while another writer follows the same run.
  explicit TensorboardWriter(const RunView& run);
  /// A file to which nothing was written is removed.
  ~TensorboardWriter();
  TensorboardWriter(TensorboardWriter&&) noexcept;
  TensorboardWriter& operator=(TensorboardWriter&&) noexcept;

  /// Appends the points and images that `run` has beyond those of the last call, and returns how many. Hyper-parameters
  /// are written once, with the first call that finds some. Throws IoError; then the same points come again with the
  /// next call, and the file ends where it did before.
  std::size_t write(const RunView& run);
  [[nodiscard]] const std::string& path() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes a whole new file and returns its path. Throws as TensorboardWriter does.
std::string export_tensorboard(const RunView& run);

}  // namespace tenon::track
