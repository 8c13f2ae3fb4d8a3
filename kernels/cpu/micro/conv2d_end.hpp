// Where the sums of a register tile go, and the epilogues that registers can do on the way.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the sums of a panel go, and what happens to them on the way.
struct TileEnd {
  float* z;             // first pixel
  std::int64_t step;    // floats between pixels
  const float* bias{};  // added, where there is one
  bool relu{};

  TENON_MEMBER TileEnd from(std::int64_t pixel) const { return {z + pixel * step, step, bias, relu}; }
  /// Asks for the lines of some pixels before they are computed: they are far apart, and no hardware guesses them.
  TENON_MEMBER void fetch(std::int64_t pixels) const {
    for (std::int64_t i = 0; i < pixels; ++i)
      for (int j = 0; j < panel; j += 16) __builtin_prefetch(z + i * step + j, 1);
  }
};

/// Whether `fn` is one that tiles apply themselves.
TENON_INLINE bool in_registers(op::UnaryFn fn) { return fn == op::UnaryFn::identity || fn == op::UnaryFn::relu; }

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
