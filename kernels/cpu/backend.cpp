// The CPU as a backend: which instruction sets the machine has, and the rows in the order in which they are asked.
#include "tenon/backend.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <vector>

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
  bool available;
};

std::vector<Level> levels() {
  std::vector<Level> list;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
  list.push_back({"avx512", &cpu::avx512::table, &cpu::avx512::eigen_table, v4});
  list.push_back({"avx2", &cpu::avx2::table, &cpu::avx2::eigen_table, v3});
#endif
  list.push_back({"baseline", &cpu::baseline::table, &cpu::baseline::eigen_table, true});
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

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

class CpuBackend final : public Backend {
 public:
  CpuBackend() : levels_(usable_levels()) {
    for (const Level& l : levels_) cpu::append_rows(table_, *l.table);
    // Eigen at the best level only: it is one provider, not one per instruction set.
    cpu::append_eigen_rows(table_, *levels_.front().eigen);
    const KernelTable& reference = reference_rows();
    table_.insert(table_.end(), reference.begin(), reference.end());
    description_ = fmt::format("{}, {}", processor_name(), levels_.front().name);
  }

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::string description() const override { return description_; }
  [[nodiscard]] const KernelTable& kernels() const override { return table_; }
  [[nodiscard]] int default_threads() const override { return omp_get_max_threads(); }
  [[nodiscard]] bool canonical() const override { return levels_.front().table->canonical; }
  [[nodiscard]] Peak peak(int threads) const override {
    const std::lock_guard lock(mutex_);
    Peak& known = peaks_[threads];
    if (known.flops == 0) {
      cpu::Peaks peaks(threads, {levels_.front().table});
      for (int trial = 0; trial < 8; ++trial) peaks.measure();
      known = {peaks.flops(levels_.front().table->provider), peaks.bandwidth()};
    }
    return known;
  }

 private:
  std::vector<Level> levels_;
  KernelTable table_;
  std::string description_;
  mutable std::mutex mutex_;
  mutable std::map<int, Peak> peaks_;  // by threads
};

}  // namespace

std::vector<const cpu::Microkernels*> cpu::instruction_sets() {
  std::vector<const Microkernels*> sets;
  for (const Level& l : usable_levels()) sets.push_back(l.table);
  return sets;
}

Backend& backend(const std::string& device) {
  static CpuBackend cpu;
  if (device == "cpu" || device == "auto" || device.empty()) return cpu;
  if (device == "cuda" || device.starts_with("cuda:")) {
    const std::string number = device.size() > 5 ? device.substr(5) : "0";
    if (number.find_first_not_of("0123456789") != std::string::npos)
      throw UsageError(fmt::format("[device] expects auto, cpu or cuda[:N], found '{}'", device));
    throw DeviceError(fmt::format("[device] {} cannot be used: this build has no CUDA backend", device));
  }
  throw UsageError(fmt::format("[device] expects auto, cpu or cuda[:N], found '{}'", device));
}

}  // namespace tenon
