// A kernel row bound to a problem, with everything that a call needs. Rows of one problem share their operands; these stay
// in the caches from one call to the next as far as they fit, as in a training step of that size.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "bench/support/problems.hpp"
#include "tenon/kernel.hpp"

namespace tenon::bench {

/// Inputs and outputs of a problem. Updates work in place, on their inputs.
struct Operands {
  Operands(const BenchProblem&, double alive);
  std::vector<Array> in, out;
  std::vector<const void*> in_pointers;
  std::vector<void*> out_pointers;
};

class BoundRow {
 public:
  BoundRow(std::string provider, Step step, std::shared_ptr<Operands>, int threads);
  void run() { step_.run(call_); }
  /// Seconds of `calls` calls.
  [[nodiscard]] double seconds(std::int64_t calls);
  [[nodiscard]] const std::string& provider() const { return provider_; }

 private:
  std::string provider_;
  Step step_;
  std::shared_ptr<Operands> operands_;
  Array workspace_;
  std::unique_ptr<Control> control_;  // the call points at it
  Call call_;
};

}  // namespace tenon::bench
