// Data: named columns of samples, a loader that turns them into dense minibatches, the IDX reader and MNIST.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/array.hpp"
#include "tenon/batch.hpp"

namespace tenon {

/// One value per sample, samples along the first axis. What a minibatch holds of it: `u8` and `i32` data with a divisor
/// other than 1 become `f32`, as float(v) / divisor (a true division); without one they become `i32` (labels, indices);
/// `f32` stays `f32`, and `f64` is rounded to it.
struct Column {
  Array data;
  float divisor = 1.f;

  [[nodiscard]] Shape sample_shape() const;                      // without the batch axis
  [[nodiscard]] TensorSpec batch_spec(std::int64_t rows) const;  // of a minibatch of so many samples
};
using NamedColumn = std::pair<std::string, Column>;

/// Input and target columns with the same number of samples. A copy shares the data.
class Dataset {
 public:
  Dataset() = default;
  /// Throws DataError when the columns disagree on the number of samples, UsageError for a repeated name or a divisor
  /// that is zero or not finite.
  Dataset(std::vector<NamedColumn> inputs, std::vector<NamedColumn> targets);
  /// One unnamed input and one unnamed target.
  Dataset(Array x, Array y);

  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] const std::vector<NamedColumn>& inputs() const noexcept { return inputs_; }
  [[nodiscard]] const std::vector<NamedColumn>& targets() const noexcept { return targets_; }
  /// Samples [begin, end), sharing the data.
  [[nodiscard]] Dataset slice(std::int64_t begin, std::int64_t end) const;

 private:
  std::vector<NamedColumn> inputs_, targets_;
  std::int64_t size_ = 0;
};

struct LoaderOptions {
  std::int64_t batch_size = 64;
  bool shuffle = true;
  std::uint64_t seed = 1;
  bool drop_last = false;   // leave out a last batch that is not full
  bool continuous = false;  // an endless stream: a minibatch may span two sweeps over the data
  bool prefetch = true;     // a background thread fills the next minibatch
  /// Threads of this machine that work on each minibatch meanwhile (`Program::host_threads`). Where they take all processors
  /// a background thread would only stop one of them: it is left out, and they gather a minibatch together when it is asked
  /// for, unless there is a `transform`.
  int busy_threads = 0;
  /// Called with every filled minibatch before it is handed out (augmentation), on the background thread if there is
  /// one. What it throws comes out of `next()`.
  std::function<void(Batch&)> transform = nullptr;
};

/// Minibatches of a data set. Sample i of epoch e is row permutation(seed, e)(i), a bijection that needs no memory (see
/// kernels/common/permutation.hpp), so the order depends on seed and epoch alone. With `continuous`, sample i of the
/// stream is row permutation(seed, i / n)(i % n).
class Loader {
 public:
  Loader(const Dataset& data, const LoaderOptions& options);
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// Starts epoch `epoch` at its minibatch `first_batch` (to go on after a resume). A continuous stream starts at the
  /// first sample of sweep `epoch` plus `first_batch` minibatches.
  void start_epoch(std::uint32_t epoch, std::int64_t first_batch = 0);
  /// The next minibatch, or nullptr at the end of the epoch; a continuous stream has no end. The memory is reused: it
  /// is valid until the following call. Allocates nothing. Without a `start_epoch` before, epoch 0.
  const Batch* next();
  /// Minibatches of one epoch; for a continuous stream, how many it takes to see as many samples as the data has.
  [[nodiscard]] std::int64_t batches_per_epoch() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What an IDX file must hold. Elements are unsigned bytes.
struct IdxExpectation {
  Shape sample = {28, 28};                         // extents after the count; {} for labels
  std::optional<std::int64_t> count = {};          // samples; any number when not given
  std::optional<int> max_value = {};               // the largest byte that is allowed: 9 for digit labels
  std::int64_t max_bytes = std::int64_t{1} << 30;  // content beyond this is refused before anything is allocated
};

/// Reads an IDX file, plain or gzip (decided by its first bytes), into u8 (count, sample...). Any byte that is wrong,
/// missing or too many is a DataError that names file, offset, expected and found; IoError when the system cannot read.
[[nodiscard]] Array read_idx(const std::string& path, const IdxExpectation& expect);
/// The same for bytes in memory; `name` stands for the file in messages.
[[nodiscard]] Array parse_idx(std::span<const std::byte> bytes, const std::string& name, const IdxExpectation& expect);

struct MnistOptions {
  /// Where the four files are, or in its `mnist` subfolder. A named folder that is missing or incomplete is a
  /// DataError.
  std::optional<std::string> data_folder = {};
  /// Fetch what is missing into `data_folder`, else into the user's cache; failing to is an error.
  bool download = false;
  /// Never use the network (also TENON_OFFLINE=1).
  bool offline = false;
  /// Base URLs to try in order; else TENON_MNIST_MIRRORS (separated by spaces or commas); else the built-in list.
  std::vector<std::string> mirrors = {};
  /// Of the procedural digits, and how many to draw.
  std::uint64_t seed = 1;
  std::int64_t synthetic_train = 60000, synthetic_test = 10000;
  /// Hears what was looked for, fetched and chosen, one line a call.
  std::function<void(const std::string&)> log = nullptr;
};

struct MnistData {
  Dataset train, test;     // images u8 (n,28,28,1) with divisor 255, labels u8 (n)
  std::string source;      // where they came from, in words
  bool synthetic = false;  // procedural digits, not MNIST
};

/// Looks in `data_folder`; else in TENON_MNIST (which names a folder, too), ./data and the user's cache
/// ($XDG_CACHE_HOME or ~/.cache)/tenon/mnist. With nothing named and none found: downloads into the cache, and where
/// that is impossible draws procedural digits, and says so through `log`.
[[nodiscard]] MnistData load_mnist(const MnistOptions& options = {});

}  // namespace tenon
