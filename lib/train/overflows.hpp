// Updates that were skipped because a gradient of the scaled loss was not finite: the first is told, and a training in which
// nothing else happens any more ends.
#pragma once
#include <fmt/format.h>

#include <cstdint>

#include "tenon/log.hpp"
#include "tenon/train.hpp"

namespace tenon {

class Overflows {
 public:
  static constexpr std::int64_t most_in_a_row = 50;

  /// False where the training has to end, with the reason in `control`.
  [[nodiscard]] bool note(const StepResult& r, std::int64_t step, TrainControl& control) {
    if (!r.overflowed) {
      in_a_row_ = 0;
      return true;
    }
    if (++count_ == 1)
      detail::log(LogLevel::warning,
                  fmt::format("[train] the update of step {} is skipped: a gradient of the scaled loss is not finite; "
                              "further ones are counted",
                              step));
    if (++in_a_row_ < most_in_a_row) return true;
    control.stop(
        fmt::format("{} updates in a row were skipped, the last at step {}: gradients overflow, a smaller "
                    "loss_scale may help",
                    in_a_row_, step));
    return false;
  }
  [[nodiscard]] std::int64_t count() const { return count_; }

 private:
  std::int64_t count_ = 0, in_a_row_ = 0;
};

}  // namespace tenon
