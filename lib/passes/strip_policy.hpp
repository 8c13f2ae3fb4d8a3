// What makes strips (lib/runtime/strips.hpp) worth their while.
#pragma once
#include <cstdint>

#include "kernels/common/order.hpp"

namespace tenon {

struct StripPolicy {
  std::int32_t threads = 1;
  std::int64_t samples = order::sample_group;        // of a strip: a filter gradient is one chain in each
  std::int64_t least_bytes = std::int64_t{2} << 20;  // of what stays inside; less stays in the caches anyway

  /// True where `batch` gives every thread some strips.
  [[nodiscard]] bool fits(std::int64_t batch) const { return batch >= 2 * samples * threads; }
};

}  // namespace tenon
