// Which thread of a block goes on next, and which block: the schedules of emulation.hpp.
#pragma once
#include <array>
#include <cstdint>

#include "tests/cuda_emulation/emulation.hpp"

namespace tenon::cuda::emulation {

/// The schedule of a launch, with the number that makes a launch's random choices its own.
struct ScheduleChoice {
  Schedule schedule;
  std::uint64_t seed;
};
[[nodiscard]] ScheduleChoice next_schedule();

/// The threads that can go on, as a set of ranks; next() takes the lowest one.
class ReadyThreads {
 public:
  /// At the start of a block everybody is ready.
  void begin(ScheduleChoice, std::uint32_t threads, std::uint64_t block);
  void add(std::uint32_t thread) {
    const std::uint32_t r = rank_[thread];
    bits_[r / 64] |= std::uint64_t{1} << r % 64;
  }
  static constexpr std::uint32_t nobody = ~0u;
  [[nodiscard]] std::uint32_t next();

 private:
  std::uint64_t random();
  [[nodiscard]] std::uint32_t take(std::uint32_t word, std::uint64_t among);

  ScheduleChoice choice_{};
  std::uint32_t threads_ = 0, words_ = 0;
  Schedule ranked_for_{};
  std::uint64_t state_ = 0;
  std::array<std::uint64_t, max_threads / 64> bits_{};
  std::array<std::uint16_t, max_threads> rank_{}, thread_{};
};

/// The i-th of n blocks to run.
[[nodiscard]] std::uint64_t block_at(ScheduleChoice, std::uint64_t i, std::uint64_t n);

}  // namespace tenon::cuda::emulation
