// The CPU as a backend: which instruction sets the machine has, and the rows in the order in which they are asked.
#include "tenon/backend.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

#include "kernels/cpu/amx.hpp"
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/eigen_kernels.hpp"
#include "kernels/cpu/peaks.hpp"
#include "kernels/cpu/rows.hpp"
#include "kernels/reference/kernels.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

/// One compiled level, best first.
struct Level {
  const char* name;
  const cpu::Microkernels* table;
  const cpu::EigenKernels* eigen;
  const cpu::Bf16Kernels* tiles;  // a level of products of bf16 alone, which has no other table
  bool available;
};

/// The last level is what every processor of the family has.
bool machine_has([[maybe_unused]] std::string_view level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (level == "avx2") return v3;
  if (level == "avx512")
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
#endif
  return true;
}

std::vector<Level> levels() {
#define TENON_LEVEL(level) {#level, &cpu::level::table, &cpu::level::eigen_table, nullptr, machine_has(#level)},
  std::vector<Level> list{TENON_LEVELS(TENON_LEVEL)};
#undef TENON_LEVEL
#if defined(__x86_64__)
  list.insert(list.begin(),
              {"amx", nullptr, nullptr, &cpu::amx::bf16_table, list.front().available && cpu::amx_available()});
#endif
  return list;
}

/// The levels that may be used: what the machine has, capped by TENON_ISA.
std::vector<Level> usable_levels() {
  std::vector<Level> list = levels();
  if (const char* cap = std::getenv("TENON_ISA"); cap != nullptr && *cap != '\0') {
    std::string names;
    bool known = false;
    for (Level& l : list) {
      known = known || l.name == std::string(cap);
      if (!known) l.available = false;
      names += names.empty() ? l.name : std::string(", ") + l.name;
    }
    if (!known) throw UsageError(fmt::format("[TENON_ISA] no '{}' among: {}", cap, names));
  }
  std::erase_if(list, [](const Level& l) { return !l.available; });
  return list;
}

/// The model; AArch64 tells the numbers of its maker and of the core instead.
std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string maker;
  for (std::string line; std::getline(info, line);) {
    const std::size_t at = line.find(": ");
    if (at == std::string::npos) continue;
    const std::string value = line.substr(at + 2);
    if (line.starts_with("model name")) return value;
    if (line.starts_with("CPU implementer")) maker = value;
    if (line.starts_with("CPU part")) return fmt::format("implementer {} part {}", maker, value);
  }
  return "unknown processor";
}

class CpuBackend final : public Backend {
 public:
  CpuBackend() {
    const std::vector<Level> levels = usable_levels();
    const Level& best = *std::ranges::find_if(levels, [](const Level& l) { return l.table != nullptr; });
    // Rows of a class of precision stand before those of the classes before it: levels of tiles are the first.
    for (const Level& l : levels)
      l.tiles != nullptr ? cpu::append_bf16_rows(table_, *l.tiles) : cpu::append_rows(table_, *l.table);
    // Eigen at the best level only: it is one provider, not one per instruction set.
    cpu::append_eigen_rows(table_, *best.eigen);
    const KernelTable& reference = reference_rows();
    table_.insert(table_.end(), reference.begin(), reference.end());
    canonical_ = best.table->canonical;
    description_ = fmt::format("{}, {}", processor_name(), best.name);
    if (levels.front().tiles != nullptr) description_ += fmt::format(" with {}", levels.front().name);
  }

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::string description() const override { return description_; }
  [[nodiscard]] const KernelTable& kernels() const override { return table_; }
  [[nodiscard]] int default_threads() const override { return omp_get_max_threads(); }
  [[nodiscard]] bool canonical() const override { return canonical_; }
  [[nodiscard]] KernelTable& table() { return table_; }
  [[nodiscard]] Peak peak(int threads) const override {
    const std::lock_guard lock(mutex_);
    Peak& known = peaks_[threads];
    if (known.flops == 0) {
      const std::vector<cpu::PeakLoop> loops = cpu::peak_loops();
      std::vector<cpu::PeakLoop> wanted{loops.front()};
      if (loops.back().tiles) wanted.push_back(loops.back());
      cpu::Peaks peaks(threads, wanted);
      for (int trial = 0; trial < 8; ++trial) peaks.measure();
      known = {.flops = peaks.flops(loops.front().provider), .bandwidth = peaks.bandwidth()};
      if (loops.back().tiles) known.tile_flops = peaks.flops(loops.back().provider);
    }
    return known;
  }

 private:
  KernelTable table_;
  bool canonical_ = false;
  std::string description_;
  mutable std::mutex mutex_;
  mutable std::map<int, Peak> peaks_;  // by threads
};

CpuBackend& cpu_backend() {
  static CpuBackend backend;
  return backend;
}

}  // namespace

KernelTable& cpu::backend_table() { return cpu_backend().table(); }

std::vector<cpu::PeakLoop> cpu::peak_loops() {
  std::vector<cpu::PeakLoop> loops;
  const std::vector<Level> levels = usable_levels();
  for (const Level& l : levels)
    if (l.table != nullptr)
      loops.push_back({l.table->provider, 2. * cpu::fma_chains * l.table->width, l.table->fma_peak, false});
  for (const Level& l : levels)
    if (l.tiles != nullptr) loops.push_back({l.tiles->provider, cpu::tile_peak_flops, l.tiles->peak, true});
  return loops;
}

Backend& cpu::host_backend() { return cpu_backend(); }

}  // namespace tenon
