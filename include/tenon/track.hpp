// Run tracking: experiments, runs, metrics, files and models, kept in plain folders. Of use to programs that do no
// learning too: `tenon::track` needs neither the library nor a GPU.
//
//   auto run = tenon::track::Experiment("mnist").start_run();
//   run.log("accuracy", 0.99);            // a scalar; again with the same name: a list
//   run.log("Loss", losses);              // a whole list, every value kept
//   run.register_model("mnist-cnn", "outputs/mnist_cnn.safetensors");
//   run.complete();
//
// A run is a folder that only grows: runs/<experiment>/<run id>/. What reads it (charts, TensorBoard, MLflow, the
// `tenon` program) reads the same files that a user may.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::track {

/// One value of a metric. `step` counts from 0 where the caller gave none; `time` is in milliseconds since 1970, UTC.
struct Point {
  std::int64_t step = 0;
  double value = 0;
  std::int64_t time = 0;
};

/// All values of one metric, in the order in which they were logged.
struct Metric {
  std::string name;
  std::vector<Point> points;
  /// The last value; NaN without one.
  [[nodiscard]] double last() const;
  [[nodiscard]] std::vector<double> values() const;
};

/// `crashed`: the process ended without a word, and a later start found that out.
enum class Status { running, completed, failed, crashed };
[[nodiscard]] std::string_view name_of(Status) noexcept;

/// A file under the run's outputs/, with its name relative to the run's folder: `outputs/mnist_cnn.safetensors`.
struct FileEntry {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;  // 64 hex digits
};

/// An image that was logged: PNG file relative to the run's folder. `time` as in Point.
struct ImageEntry {
  std::string name, file, caption;
  std::int64_t step = 0;
  std::int64_t time = 0;
};

/// A square table of counts, rows are what is true, columns what was predicted.
struct ConfusionEntry {
  std::string name;
  std::vector<std::string> labels;
  std::vector<std::int64_t> counts;  // [labels, labels]
  std::int64_t time = 0;             // as in Point
};

using Pairs = std::vector<std::pair<std::string, std::string>>;  // in the order given; a later one of a name replaces

/// What is known of a run when it starts. Empty values are left out.
struct RunOptions {
  std::string name;  // for people; the id is the machine's
  Pairs params;      // hyper-parameters
  Pairs tags;
  Pairs environment;  // device, precision, seed, library versions, ... beside what start_run finds by itself
  std::vector<std::string> command_line;  // empty: this process' own
  /// What ends training too when it cannot be logged: throws IoError instead of one warning.
  bool strict = false;
};

struct ExperimentOptions {
  std::string root;  // folder of all runs; empty: $TENON_RUNS, else `runs`
};

class Run;
class LogReader;

/// A named series of runs; made by the first run.
class Experiment {
 public:
  /// Any name up to 4,096 bytes; the folder has a name of its own. Throws UsageError for an empty one.
  explicit Experiment(std::string name, ExperimentOptions options = {});
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// The folder of its runs.
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  /// Makes the run's folder, writes down what is known (command line, working folder, host, user's source revision,
  /// environment), closes runs of this experiment that crashed. Throws IoError when the folder cannot be made.
  [[nodiscard]] Run start_run(RunOptions options = {});
  /// Ids, oldest first.
  [[nodiscard]] std::vector<std::string> runs() const;

 private:
  std::string name_, root_, folder_;
};

/// What a registered model is.
struct ModelVersion {
  std::string name;
  std::string id;  // `name:version`
  std::int64_t version = 0;
  std::string run_id, path, sha256;  // path: of the registry's own copy of the file
  std::uint64_t bytes = 0;
  std::int64_t created = 0;  // milliseconds since 1970, UTC
  Pairs metrics;             // last values of the run's metrics
  std::vector<std::string> aliases;
};

/// A run that this process writes. Every call writes before it returns, except log_steps, which gathers blocks. May be
/// used from several threads. The destructor of a run that is still open marks it failed.
class Run {
 public:
  ~Run();
  Run(Run&&) noexcept;
  Run& operator=(Run&&) noexcept;

  [[nodiscard]] const std::string& id() const noexcept;
  [[nodiscard]] const std::string& folder() const noexcept;
  /// Where files go that belong to the run; exists.
  [[nodiscard]] std::string outputs() const;

  /// A scalar; its step is the number of values that the name has, unless given.
  void log(std::string_view name, double value, std::optional<std::int64_t> step = {});
  /// A list whose values have the steps 0, 1, ... or go on where the name's last one was.
  void log(std::string_view name, std::span<const double> values);
  /// Values of one step under several names; they reach the file in blocks of at most 64 steps or 200 ms, one write
  /// each.
  struct Value {
    std::string_view name;
    double value;
  };
  void log_steps(std::int64_t step, std::span<const Value> values);
  /// Writes the block that is being gathered.
  void flush();

  void log_params(const Pairs& params);
  void tag(std::string_view name, std::string_view value);
  /// 8-bit grey or RGB pixels, [height, width, channels]. Kept as PNG.
  void log_image(std::string_view name, std::span<const std::uint8_t> pixels, int height, int width, int channels,
                 std::int64_t step = 0, std::string_view caption = {});
  void log_confusion(std::string_view name, std::span<const std::string> labels, std::span<const std::int64_t> counts);
  /// Copies a file into outputs/.
  void add_file(const std::string& path);

  /// Registers a file of the run; the path is relative to the run's folder or to outputs/, or lies in it. Throws
  /// UsageError that lists the run's files when it is not one of them.
  ModelVersion register_model(std::string_view name, const std::string& path);

  void complete();
  void fail(std::string_view reason);

  /// What is in the folder now.
  [[nodiscard]] std::vector<Metric> get_metrics() const;
  [[nodiscard]] std::vector<std::string> get_file_names() const;

 private:
  friend class Experiment;
  struct Impl;
  explicit Run(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A run as its folder tells it, also while another process writes it. A torn last line is passed over.
class RunView {
 public:
  /// By id (in any experiment under `root`; a prefix that only one run has will do), or by folder. Throws UsageError
  /// with what there is.
  static RunView open(const std::string& id_or_folder, const std::string& root = {});
  /// Every run under `root`, oldest first.
  static std::vector<RunView> all(const std::string& root = {});

  std::string id, name, experiment, folder;
  Status status = Status::running;
  std::string reason;                   // of a failure
  std::int64_t started = 0, ended = 0;  // milliseconds since 1970, UTC; 0: not yet
  std::int64_t last_written = 0;
  Pairs params, tags, environment;
  std::vector<std::string> command_line;
  std::vector<Metric> metrics;  // in the order of their first value
  std::vector<ImageEntry> images;
  std::vector<ConfusionEntry> confusions;

  [[nodiscard]] const Metric* metric(std::string_view name) const;
  [[nodiscard]] const std::vector<Metric>& get_metrics() const { return metrics; }
  /// From the manifest of a run that has ended; of a running one from the folder as it is.
  [[nodiscard]] std::vector<FileEntry> files() const;
  [[nodiscard]] std::vector<std::string> get_file_names() const;
  /// Copies one of the run's files, named as in Run::register_model, and verifies its SHA-256 where the manifest has it.
  /// Throws UsageError that lists the files, IoError.
  void download_file(const std::string& name, const std::string& to) const;
  /// Reads what was appended since; true if there was anything.
  bool refresh();

 private:
  friend class LogReader;
  std::uint64_t read_ = 0;                                 // bytes of the log that were taken in
  bool ended_ = false;                                     // a line says how it ended
  std::map<std::string, std::size_t, std::less<>> index_;  // of `metrics`
};

/// Models by name and version, under <root>/../models unless given: `runs` has `models` beside it.
class Registry {
 public:
  explicit Registry(std::string folder = {});  // empty: $TENON_MODELS, else `models`
  /// Versions are dense from 1 and unique, however many processes register at once.
  ModelVersion register_model(std::string_view name, const std::string& file, const RunView* run = nullptr);
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] std::vector<ModelVersion> versions(std::string_view name) const;
  /// By version, or by alias; without either, the newest. Throws UsageError with what there is.
  [[nodiscard]] ModelVersion get(std::string_view name, std::string_view version_or_alias = {}) const;
  void set_alias(std::string_view name, std::string_view alias, std::int64_t version);
  void remove_alias(std::string_view name, std::string_view alias);

 private:
  std::string folder_;
};

/// Removes a run's folder. Throws UsageError while the run is running.
void remove_run(const RunView& run);

}  // namespace tenon::track
