// Which windows lie inside an image, where no tap has to be asked for, and which taps of the others do.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The taps of a window that begins at `begin`, `dilation` apart, that lie in [0, extent).
TENON_INLINE Range taps_there(std::int64_t begin, std::int64_t taps, std::int64_t dilation, std::int64_t extent) {
  const TapRange there = taps_inside(static_cast<std::int32_t>(begin), static_cast<std::int32_t>(taps),
                                     static_cast<std::int32_t>(dilation), static_cast<std::int32_t>(extent));
  return {there.first, there.last};
}
/// The pixels p of [0, pixels) whose window, columns first + p * step and `reach` further, lies in [0, columns).
TENON_INLINE Range windows_inside(std::int64_t first, std::int64_t reach, std::int64_t step, std::int64_t columns,
                                  std::int64_t pixels) {
  const std::int64_t last = columns - 1 - first - reach;
  const std::int64_t begin = first >= 0 ? 0 : smaller(blocks_of(-first, step), pixels),
                     end = last < 0 ? 0 : smaller(last / step + 1, pixels);
  return {begin, larger(begin, end)};
}
/// Output columns where the taps kw from first to last all lie in the image.
TENON_INLINE Range columns_inside(const ConvGeometry& g, std::int64_t first, std::int64_t last) {
  return windows_inside(first * g.dilation_w - g.pad_left, (last - first) * g.dilation_w, g.stride_w, g.w, g.ow);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
