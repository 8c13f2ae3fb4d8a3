// conv2d_depthwise: y(n,oy,ox,c) = activation(bias(c) + sum over (kh,kw) of x(n,iy,ix,c) filter(kh,kw,c)): as many groups
// as channels, one filter each.
// Layout: vectors of neighbouring channels, up to eight pixels at a time in registers; nothing is packed or copied.
// Parallel over output rows of all images.
// Order: one FMA chain per output over (kh, kw) ascending; a window has at most order::k_chunk taps.
// Error: (taps + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_channels.hpp"

namespace tenon::cpu::TENON_ISA {

void conv2d_depthwise(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  const std::int64_t rows = std::int64_t{g.n} * g.oh, line = std::int64_t{g.w} * g.c, channels = g.c;
  const float* bias = g.bias ? input<float>(call, 2) : nullptr;
  const auto fn = static_cast<op::UnaryFn>(g.activation);
  const std::int32_t threads = team_size(call, p);
  parallel_ranges(threads, rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      // Rows of the window that lie in the image.
      const std::int64_t top = row % g.oh * g.stride_h - g.pad_top;
      const Range there = taps_there(top, g.kh, g.dilation_h, g.h);
      float* y = output<float>(call, 0) + row * g.ow * channels;
      const ChannelTaps taps{there.size(),    g.kw,    -g.pad_left, g.stride_w, g.dilation_w, g.w, g.dilation_h * line,
                             g.kw * channels, channels};
      const float* x = input<float>(call, 0) + (row / g.oh * g.h + top) * line;
      const RowAhead ahead{x + there.end * g.dilation_h * line, std::int64_t{g.stride_h} * g.stride_w,
                           y + g.ow * channels, 1};
      channel_row(x + there.begin * g.dilation_h * line, input<float>(call, 1) + there.begin * g.kw * channels, taps,
                  g.ow, channels, {y, channels, bias, fn == op::UnaryFn::relu}, ahead);
      if (!in_registers(fn))
        pointwise::with_unary<Simd>(fn, g.alpha, 0.f, [&](const auto& f) {
          for_each_lanes(g.ow * channels,
                         [&](std::int64_t i, auto lanes) { lanes.store(y + i, f.value(lanes.load(y + i))); });
        });
      finish_unit(p, call, row);
    }
  });
}

}  // namespace tenon::cpu::TENON_ISA
