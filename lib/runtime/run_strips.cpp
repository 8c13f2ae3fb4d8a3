// Threads take strips as they come; then they join the strips' sums, level by level: strip i takes i + distance.
#include "lib/runtime/run_strips.hpp"

#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace tenon {
namespace {

constexpr std::int64_t join_floats = 1024;  // that a thread joins at a time

struct Strip {
  const Call& call;
  const StripRun& run;
  std::int64_t number;
  std::byte *sums, *scratch;

  [[nodiscard]] std::byte* address(const StripOperand& o) const {
    switch (o.space) {
      case StripOperand::Space::in:
        return static_cast<std::byte*>(const_cast<void*>(call.in[o.at])) + number * o.each;
      case StripOperand::Space::out:
        return static_cast<std::byte*>(call.out[o.at]) + number * o.each;
      case StripOperand::Space::scratch:
        return scratch + o.at;
      case StripOperand::Space::sums:
        return sums + number * run.sum_bytes + o.at;
    }
    return nullptr;
  }

  void execute(const StripStep& s, bool last) const {
    const void* in[Problem::max_in];
    void* out[Problem::max_out];
    for (std::size_t i = 0; i < s.in.size(); ++i) in[i] = address(s.in[i]);
    for (std::size_t i = 0; i < s.out.size(); ++i) out[i] = address(s.out[i]);
    const Step& step = last ? s.tail : s.whole;
    step.run({.in = in,
              .out = out,
              .workspace = scratch + run.workspace_at,
              .control = call.control,
              .state = step.state.get(),
              .threads = 1,
              .first_sample = number * run.samples});
  }
};

}  // namespace

void run_strips(const Call& call) {
  const auto& run = state_of<StripRun>(call);
  auto* sums = static_cast<std::byte*>(call.workspace);
  std::byte* scratch = sums + run.sum_bytes * run.count;
  const std::int64_t blocks = (run.sum_bytes / 4 + join_floats - 1) / join_floats;
#pragma omp parallel num_threads(call.threads) if (call.threads > 1)
  {
    std::byte* own = scratch + omp_get_thread_num() * run.scratch_bytes;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t s = 0; s < run.count; ++s)
      for (const StripStep& step : run.steps) Strip{call, run, s, sums, own}.execute(step, s + 1 == run.count);
    for (std::int64_t distance = 1; distance < run.count; distance *= 2)
#pragma omp for schedule(static)
      for (std::int64_t block = 0; block < blocks; ++block)
        for (std::int64_t s = 0; s + distance < run.count; s += 2 * distance) {
          auto* to = reinterpret_cast<float*>(sums + s * run.sum_bytes) + block * join_floats;
          const auto* from =
              reinterpret_cast<const float*>(sums + (s + distance) * run.sum_bytes) + block * join_floats;
          const std::int64_t count = std::min(join_floats, run.sum_bytes / 4 - block * join_floats);
          for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
        }
  }
  for (const StripSum& sum : run.sums)
    std::memcpy(call.out[sum.out], sums + sum.at, static_cast<std::size_t>(sum.bytes));
}

}  // namespace tenon
