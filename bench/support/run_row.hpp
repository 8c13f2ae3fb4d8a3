// A kernel row bound to a problem, with everything that a call needs, in the memory of its device. Rows of one problem share their
// operands. Warm: every call has the same ones, which stay in the caches as far as they fit, as in a training step of that size.
// Cold: calls go round equal copies of them, so many that a copy has left the caches when its turn comes again.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "bench/support/problems.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/kernel.hpp"

namespace tenon::bench {

enum class Caches : std::uint8_t { warm, cold };

/// Inputs and outputs of a problem. Updates work in place, on their inputs.
struct Operands {
  /// Of all copies together, when cold: more than twice the second-level cache of any GPU so far.
  static constexpr std::size_t cold_bytes = std::size_t{128} << 20;
  /// As many as one recording has calls.
  static constexpr std::int64_t most_copies = 500;

  Operands(Backend&, const BenchProblem&, double alive, Caches = Caches::warm);
  /// False where operands are so small that `most_copies` of them stay in the caches: there is no cold time then.
  [[nodiscard]] static bool can_be_cold(const BenchProblem&);

  struct Copy {
    std::vector<const void*> in;
    std::vector<void*> out;
  };
  Backend& device;
  std::vector<Slab> memory;
  std::vector<Copy> copies;
};

class BoundRow {
 public:
  BoundRow(std::string provider, Step step, std::shared_ptr<Operands>, int threads);
  void run();
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
  std::size_t turn_ = 0;       // of the copies
};

}  // namespace tenon::bench
