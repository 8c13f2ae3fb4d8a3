// Independent chains a thread keep all FMA units busy, since a chain's next FMA waits four or five cycles for the last:
// twelve for the two units of an x86-64 core, 24 for the up to four of an AArch64 core.
// The seeds differ at run time, or the compiler would see so many equal chains and keep one.
#include "bench/support/peak.hpp"

#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/amx.hpp"

namespace tenon::bench {
namespace {

constexpr int chains = 12;
constexpr double least_seconds = 0.01;

using Loop = void (*)(std::int64_t iterations, const float* seed, float* out);

/// An instruction set's loop, and the FLOPs of one iteration.
struct FmaLoop {
  const char* name;
  Loop run;
  double flops;
};

#if defined(__x86_64__)
// STEP(a) is the next value of a chain.
#define TENON_FMA_LOOP(NAME, TARGET, V, SET, ADD, STORE, STEP)                                                      \
  __attribute__((target(TARGET))) void NAME(std::int64_t iterations, const float* seed, float* out) {               \
    V a0 = SET(seed[0]), a1 = SET(seed[1]), a2 = SET(seed[2]), a3 = SET(seed[3]), a4 = SET(seed[4]);                \
    V a5 = SET(seed[5]), a6 = SET(seed[6]), a7 = SET(seed[7]), a8 = SET(seed[8]), a9 = SET(seed[9]);                \
    V a10 = SET(seed[10]), a11 = SET(seed[11]);                                                                     \
    const V m = SET(seed[12]), c = SET(seed[13]);                                                                   \
    for (std::int64_t i = 0; i < iterations; ++i) {                                                                 \
      a0 = STEP(a0), a1 = STEP(a1), a2 = STEP(a2), a3 = STEP(a3), a4 = STEP(a4), a5 = STEP(a5);                     \
      a6 = STEP(a6), a7 = STEP(a7), a8 = STEP(a8), a9 = STEP(a9), a10 = STEP(a10), a11 = STEP(a11);                 \
    }                                                                                                               \
    STORE(out,                                                                                                      \
          ADD(ADD(ADD(ADD(a0, a1), ADD(a2, a3)), ADD(ADD(a4, a5), ADD(a6, a7))), ADD(ADD(a8, a9), ADD(a10, a11)))); \
  }
#define TENON_STEP_512(a) _mm512_fmadd_ps(a, m, c)
#define TENON_STEP_256(a) _mm256_fmadd_ps(a, m, c)
#define TENON_STEP_128(a) _mm_add_ps(_mm_mul_ps(a, m), c)
TENON_FMA_LOOP(fma_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_add_ps, _mm512_storeu_ps, TENON_STEP_512)
TENON_FMA_LOOP(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_add_ps, _mm256_storeu_ps, TENON_STEP_256)
TENON_FMA_LOOP(mul_add_baseline, "sse2", __m128, _mm_set1_ps, _mm_add_ps, _mm_storeu_ps, TENON_STEP_128)

/// Four products of tiles an iteration, each into a tile of its own: one waits 52 cycles for the last and takes 16.
void dot_amx(std::int64_t iterations, const float*, float* out) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("ldtilecfg %0" ::"m"(config));  // which also zeroes them
  for (std::int64_t i = 0; i < iterations; ++i)
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  asm volatile("tilerelease");
  out[0] = 0;
}

std::vector<FmaLoop> loops() {
  __builtin_cpu_init();
  std::vector<FmaLoop> list;
  if (__builtin_cpu_supports("avx512f")) list.push_back({"avx512", fma_avx512, chains * 32.});
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back({"avx2", fma_avx2, chains * 16.});
  list.push_back({"baseline", mul_add_baseline, chains * 8.});
  // Last: what has no instruction set in its name is measured against the first.
  if (cpu::amx_available()) list.push_back({"amx", dot_amx, 4 * 2. * 16 * 16 * 32});
  return list;
}
#elif defined(__aarch64__)
using Lanes = float __attribute__((vector_size(16)));

/// An FMA of NEON writes over its sum. Each stops growing where a product is less than half a unit in its last place.
void fma_neon(std::int64_t iterations, const float* seed, float* out) {
  Lanes sum[2 * chains];
  for (int j = 0; j < 2 * chains; ++j) sum[j] = Lanes{} + seed[j % chains] + static_cast<float>(j / chains);
  const float m = seed[12], c = seed[13];
  for (std::int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 24
    for (Lanes& s : sum)
      s = Lanes{__builtin_fmaf(m, c, s[0]), __builtin_fmaf(m, c, s[1]), __builtin_fmaf(m, c, s[2]),
                __builtin_fmaf(m, c, s[3])};
  for (int j = 1; j < 2 * chains; ++j) sum[0] += sum[j];
  std::memcpy(out, sum, sizeof sum[0]);
}
std::vector<FmaLoop> loops() { return {{"neon", fma_neon, 2 * chains * 8.}}; }
#endif

/// Seconds of `work(thread)` on all threads, from when all are there until the last is done.
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

double fma_rate(const FmaLoop& loop, int threads) {
  // Each chain has the fixed point 1, so that nothing overflows or becomes denormal.
  static const volatile float base = 0.5f;
  float seed[14];
  for (int i = 0; i < chains; ++i) seed[i] = base + 0.05f * static_cast<float>(i);
  seed[12] = base;
  seed[13] = 1.f - base;
  const auto trial = [&](std::int64_t iterations) {
    return timed(threads, [&](int) {
      float out[16];
      loop.run(iterations, seed, out);
      volatile float sink = out[0];
      (void)sink;
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

Peaks::Peaks(int threads) : threads_(std::max(threads, 1)), copy_bytes_(bytes_of_copy(threads_)) {
  for (const FmaLoop& loop : loops()) levels_.push_back({loop.name, 0});
  source_.assign(copy_bytes_ / sizeof(float), 1.f);
  target_.assign(copy_bytes_ / sizeof(float), 0.f);
}

void Peaks::measure() {
  const std::vector<FmaLoop> list = loops();
  for (std::size_t i = 0; i < list.size(); ++i)
    levels_[i].flops = std::max(levels_[i].flops, fma_rate(list[i], threads_));
  bandwidth_ = std::max(bandwidth_, copy_rate(source_, target_, threads_));
}

std::vector<std::string> Peaks::instruction_sets() const {
  std::vector<std::string> names;
  for (const Level& l : levels_) names.push_back(l.name);
  return names;
}

double Peaks::flops(std::string_view provider) const {
  for (const Level& l : levels_)
    if (provider.ends_with("." + l.name)) return l.flops;
  return levels_.front().flops;
}

std::string Peaks::str() const {
  std::string text = fmt::format("{} thread{}: ", threads_, threads_ == 1 ? "" : "s");
  for (const Level& l : levels_) text += fmt::format("{} {:.1f} GFLOP/s, ", l.name, l.flops * 1e-9);
  return text + fmt::format("copy of {} MiB {:.1f} GB/s", copy_bytes_ >> 20, bandwidth_ * 1e-9);
}

}  // namespace tenon::bench
