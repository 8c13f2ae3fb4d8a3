// Input gradients with a stride: pixels that agree modulo the stride see the same taps. They are a class, and a class is
// a convolution of dz of stride 1.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The taps of one axis that reach positions of one residue: kh = first, first - step, ...
struct Taps {
  std::int64_t first, step, count;
  std::int64_t at;  // output position of the first tap, for position 0 of the class
};
struct Axis {
  std::int64_t kernel, stride, dilation, pad;
  std::int64_t reach;  // from tap to tap, in output positions

  TENON_MEMBER Taps taps(std::int64_t residue) const {
    const std::int64_t step = reach * stride / dilation;
    for (std::int64_t k = kernel - 1; k >= 0; --k) {
      const std::int64_t o = residue + pad - k * dilation;
      if (o % stride == 0) return {k, step, k / step + 1, o / stride};
    }
    return {0, step, 0, 0};
  }
};
TENON_INLINE Axis axis_h(const Conv2dPlan& p) {
  return {p.g.kh, p.g.stride_h, p.g.dilation_h, p.g.pad_top, p.dz.reach_h};
}
TENON_INLINE Axis axis_w(const Conv2dPlan& p) {
  return {p.g.kw, p.g.stride_w, p.g.dilation_w, p.g.pad_left, p.dz.reach_w};
}

/// Calls body(residue in h, residue in w, taps in h, taps in w, taps of the classes before).
template <class Body>
TENON_INLINE void for_each_class(const Conv2dPlan& p, const Body& body) {
  std::int64_t before = 0;
  for (std::int64_t ry = 0; ry < smaller(p.g.stride_h, p.g.h); ++ry)
    for (std::int64_t rx = 0; rx < smaller(p.g.stride_w, p.g.w); ++rx) {
      const Taps h = axis_h(p).taps(ry), w = axis_w(p).taps(rx);
      body(ry, rx, h, w, before);
      before += h.count * w.count;
    }
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
