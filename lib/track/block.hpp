// Values of consecutive steps under several names, gathered for one line of the log.
#pragma once
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/track.hpp"

namespace tenon::track {

class Block {
 public:
  static constexpr std::int64_t most_steps = 64;
  static constexpr std::chrono::milliseconds longest_wait{200};

  [[nodiscard]] bool empty() const noexcept { return steps_ == 0; }
  /// Whether `step` can go in: the next one, or the last one again with names that it lacks.
  [[nodiscard]] bool fits(std::int64_t step, std::span<const Run::Value> values) const;
  void add(std::int64_t step, std::span<const Run::Value> values);
  /// Enough steps or time.
  [[nodiscard]] bool full() const;
  /// Appends {"t":..,"step":..,"n":..,"series":{..}} and a newline, and empties the block.
  void take(std::string& to);

 private:
  struct Series {
    std::string name;
    std::vector<std::pair<bool, double>> values;  // [steps_], false: the step has none; shorter: none up to the end
  };
  std::vector<Series> series_;
  std::int64_t first_ = 0, steps_ = 0;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace tenon::track
