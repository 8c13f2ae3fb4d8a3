// Trials on all threads at once, from when all are there until the last is done.
#include "kernels/cpu/peaks.hpp"

#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace tenon::cpu {
namespace {

constexpr double least_seconds = 0.01;

/// Seconds of `work(thread)` on all threads.
template <class Work>
double timed(int threads, Work work) {
  double begin = 0;
#pragma omp parallel num_threads(threads)
  {
#pragma omp barrier
#pragma omp master
    begin = omp_get_wtime();
    work(omp_get_thread_num());
  }
  return omp_get_wtime() - begin;
}

/// Work per second: repeats with more work until one trial is long enough.
template <class Trial>
double rate(Trial trial, std::int64_t count) {
  for (;;) {
    const double seconds = trial(count);
    if (seconds >= least_seconds) return static_cast<double>(count) / seconds;
    const double growth = std::clamp(1.3 * least_seconds / std::max(seconds, 1e-9), 1.5, 100.);
    count = static_cast<std::int64_t>(static_cast<double>(count) * growth) + 1;
  }
}

double flop_rate(const PeakLoop& loop, int threads) {
  // Each chain has the fixed point 1, so that nothing overflows or becomes denormal.
  float seed[fma_chains + 2];
  for (int i = 0; i < fma_chains; ++i) seed[i] = 0.5f + 0.05f * static_cast<float>(i);
  seed[fma_chains] = seed[fma_chains + 1] = 0.5f;
  const auto trial = [&](std::int64_t iterations) {
    const FmaGeometry geometry{iterations};
    return timed(threads, [&](int) {
      float sum = 0;
      const void* in[] = {seed};
      void* out[] = {&sum};
      Call call;
      call.in = in;
      call.out = out;
      call.state = &geometry;
      loop.run(call);
    });
  };
  return rate(trial, 100000) * loop.flops * threads;
}

/// Each thread copies its own part in pieces that stay below the size from which the C library's memcpy goes around the
/// caches, as kernels do not either. The best pass counts: one is about a millisecond long.
double copy_rate(std::vector<float>& source, std::vector<float>& target, int threads) {
  const std::size_t part = source.size() / static_cast<std::size_t>(threads), piece = 65536;
  double best = 1e9, sum = 0;
  while (sum < least_seconds) {
    const double seconds = timed(threads, [&](int thread) {
      const std::size_t first = static_cast<std::size_t>(thread) * part;
      for (std::size_t i = first; i < first + part; i += piece)
        std::memcpy(target.data() + i, source.data() + i, std::min(piece, first + part - i) * sizeof(float));
    });
    best = std::min(best, seconds);
    sum += seconds;
  }
  return static_cast<double>(2 * part * static_cast<std::size_t>(threads) * sizeof(float)) / best;
}

std::size_t bytes_of_copy(int threads) {
  const long l2 = ::sysconf(_SC_LEVEL2_CACHE_SIZE);
  const std::size_t all = l2 > 0 ? static_cast<std::size_t>(l2) * static_cast<std::size_t>(threads) : 0;
  return std::max<std::size_t>(std::size_t{16} << 20, 4 * all);
}

}  // namespace

Peaks::Peaks(int threads, std::vector<PeakLoop> loops)
    : threads_(std::max(threads, 1)), copy_bytes_(bytes_of_copy(threads_)) {
  for (const PeakLoop& loop : loops) levels_.push_back({loop});
  source_.assign(copy_bytes_ / sizeof(float), 1.f);
  target_.assign(copy_bytes_ / sizeof(float), 0.f);
}

void Peaks::measure() {
  for (Level& l : levels_) l.flops = std::max(l.flops, flop_rate(l.loop, threads_));
  bandwidth_ = std::max(bandwidth_, copy_rate(source_, target_, threads_));
}

std::vector<std::string> Peaks::names() const {
  std::vector<std::string> names;
  for (const Level& l : levels_) names.emplace_back(l.loop.provider.substr(4));  // behind "cpu."
  return names;
}

double Peaks::flops(std::string_view provider) const {
  for (const Level& l : levels_)
    if (provider == l.loop.provider) return l.flops;
  return levels_.front().flops;
}

std::string Peaks::str() const {
  std::string text = fmt::format("{} thread{}: ", threads_, threads_ == 1 ? "" : "s");
  for (const std::string& name : names()) text += fmt::format("{} {:.1f} GFLOP/s, ", name, flops("cpu." + name) * 1e-9);
  return text + fmt::format("copy of {} MiB {:.1f} GB/s", copy_bytes_ >> 20, bandwidth_ * 1e-9);
}

}  // namespace tenon::cpu
