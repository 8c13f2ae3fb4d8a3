// Convolutions of images with one channel: what forward and filter gradient share. A window has as many terms as there are
// taps, and so few that what belongs to them, weights or sums, stays in registers while pixels pass.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// visit(taps in h, taps in w, floats between windows of a row), each as a type; 0 stands for a distance known at run time.
template <class Visit>
TENON_INLINE void with_taps(const ConvGeometry& g, const Visit& visit) {
  const auto with_step = [&](auto kh, auto kw) {
    g.stride_w == 1 ? visit(kh, kw, Count<1>{}) : visit(kh, kw, Count<0>{});
  };
  if constexpr (registers == 32)
    if (g.kh == 5) return with_step(Count<5>{}, Count<5>{});
  with_step(Count<3>{}, Count<3>{});
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
