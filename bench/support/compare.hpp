// Two or more providers or devices side by side: one table, operation by operation.
#pragma once
#include <string>
#include <vector>

#include "bench/support/problems.hpp"
#include "kernels/cpu/peaks.hpp"
#include "tenon/backend.hpp"

namespace tenon::bench {

using cpu::Peaks;

/// A sample on a device is at least so long: its clock is the host's, which has to wait for the device.
inline constexpr double least_sample_seconds = 0.002;

/// The peak that a row of this class of arithmetic could reach on a device that is not the host; 0 where it is not known.
[[nodiscard]] double flops_limit(const Peak&, Precision);
/// `67.0 TFLOP/s, 4.8 TB/s by the device's own figures`
[[nodiscard]] std::string device_peaks(const Peak&);
/// As many trials as steady figures take.
void measure_well(Peaks&);

struct CompareOptions {
  /// Providers ("cpu.avx512"), or devices ("cpu"), which stand for the row that they would choose.
  std::vector<std::string> names;
  std::string device = "auto";  // of the providers whose name does not say it: which of several GPUs, say
  std::string precision = "fp32";
  int threads = 1;  // on the host
  int rounds = 15;
  double alive = 0.04;
  bool json = false;
};

/// Runs every problem that one of the names takes, the names in turn within each round, and prints a Markdown table or one
/// JSON object. The peaks are measured where a name is the host's. Throws UsageError for an unknown name.
void compare(const std::vector<BenchProblem>&, const CompareOptions&, Peaks&);

}  // namespace tenon::bench
