// From the problem of a convolution to its geometry, as far as all rows of the CPU agree: how far the windows reach. Blocks and
// workspaces are each binding's own.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cpu {

/// Hands out the workspace in floats; every part starts on a cache line.
class Workspace {
 public:
  std::int64_t take(std::int64_t floats) {
    const std::int64_t at = floats_;
    floats_ += (floats + 15) / 16 * 16;
    return at;
  }
  [[nodiscard]] std::int64_t floats() const { return floats_; }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(floats_) * sizeof(float); }

 private:
  std::int64_t floats_ = 0;
};

inline std::int64_t rounded(std::int64_t n, std::int64_t block) { return (n + block - 1) / block * block; }

/// Extents, padding and threads of a convolution; panels of `panel` filters.
[[nodiscard]] Conv2dPlan conv_plan(const Problem&, std::int32_t panel);
/// Of a dense input gradient.
[[nodiscard]] DzFrame dz_frame(const ConvGeometry&);

}  // namespace tenon::cpu
