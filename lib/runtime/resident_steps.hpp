// Steps of a program whose data stays on its device: the host says how many, and reads afterwards what they gave. One recording of
// the device holds up to StepBlock::most_steps of them, gathering of the minibatches included.
#pragma once
#include <memory>
#include <vector>

#include "lib/runtime/plan.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/data.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// The order of samples, as a Loader with the same options has it.
struct SampleOrder {
  std::uint64_t seed = 1;
  bool shuffle = true, continuous = false;
};

class ResidentSteps {
 public:
  /// Null where it cannot be: there is no sample, the device is the host or has no loops for it, gradients accumulate, a column has another type
  /// than u8, i32 and f32, or the data does not fit.
  static std::unique_ptr<ResidentSteps> make(Program&, const Dataset&, SampleOrder);

  /// `count` steps (at most StepBlock::most_steps) of `batch` samples each, from sample `first` of the epoch or stream. Throws
  /// DataError for a label out of range. Nothing is updated behind a step whose loss is not finite.
  void train(std::int64_t first, std::int64_t batch, int count) { run(true, first, batch, count); }
  void evaluate(std::int64_t first, std::int64_t batch, int count) { run(false, first, batch, count); }
  /// Of step i of those; the span holds until the next call.
  [[nodiscard]] StepResult result(int i);
  /// The rate of step i.
  [[nodiscard]] float learning_rate(int i) const;

 private:
  ResidentSteps(Program&, const Dataset&, SampleOrder);
  void run(bool training, std::int64_t first, std::int64_t batch, int count);

  Program* program_;
  std::vector<Slab> columns_;
  BlockFeed feed_;
  StepBlock block_;
  std::vector<NamedValue> values_;
};

}  // namespace tenon
