// A kernel row bound to a problem, with everything that a call needs, in the memory of its device. Rows of one problem share their
// operands; these stay in the caches from one call to the next as far as they fit, as in a training step of that size.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "bench/support/problems.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/kernel.hpp"

namespace tenon::bench {

/// Inputs and outputs of a problem. Updates work in place, on their inputs.
struct Operands {
  Operands(Backend&, const BenchProblem&, double alive);
  Backend& device;
  std::vector<Slab> memory;
  std::vector<const void*> in;
  std::vector<void*> out;
};

class BoundRow {
 public:
  BoundRow(std::string provider, Step step, std::shared_ptr<Operands>, int threads);
  void run() { step_.run(call_); }
  /// Seconds of `calls` calls. A device that is not the host runs them as one recording, made beforehand: what is timed is the
  /// kernels, not the host that starts them.
  [[nodiscard]] double seconds(std::int64_t calls);
  [[nodiscard]] const std::string& provider() const { return provider_; }

 private:
  std::string provider_;
  Step step_;
  std::shared_ptr<Operands> operands_;
  Slab workspace_, control_;
  Call call_;
  std::shared_ptr<void> recording_;
  std::int64_t recorded_ = 0;  // calls
};

}  // namespace tenon::bench
