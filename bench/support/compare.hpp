// Two or more providers or devices side by side: one table, operation by operation.
#pragma once
#include <string>
#include <vector>

#include "bench/support/problems.hpp"
#include "kernels/cpu/peaks.hpp"

namespace tenon::bench {

using cpu::Peaks;

struct CompareOptions {
  /// Providers ("cpu.avx512"), or devices ("cpu"), which stand for the row that they would choose.
  std::vector<std::string> names;
  std::string device = "auto";  // of the providers
  std::string precision = "fp32";
  int threads = 0;  // of every name; 0: as many as its device takes by itself
  int rounds = 15;
  double alive = 0.04;
  bool cold = false;  // also from memory, see Caches
  bool json = false;
};

/// Runs every problem that one of the names takes, the names in turn within each round, and prints a Markdown table or one
/// JSON object. Throws UsageError for an unknown name.
void compare(const std::vector<BenchProblem>&, const CompareOptions&, Peaks&);

}  // namespace tenon::bench
