// Where in a row of outputs the window lies inside the image: there no tap has to be asked for.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Output columns where the taps kw from first to last all lie in the image.
TENON_INLINE Range columns_inside(const ConvGeometry& g, std::int64_t first, std::int64_t last) {
  const std::int64_t before = g.pad_left - first * g.dilation_w, behind = g.w - 1 + g.pad_left - last * g.dilation_w;
  const std::int64_t begin = before <= 0 ? 0 : smaller(blocks_of(before, g.stride_w), g.ow),
                     end = behind < 0 ? 0 : smaller(behind / g.stride_w + 1, g.ow);
  return {begin, larger(begin, end)};
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
