// conv2d_depthwise: y(n,oy,ox,c) = activation(bias(c) + sum over (kh,kw) of x(n,iy,ix,c) filter(kh,kw,c)): as many groups
// as channels, one filter each.
// Layout: vectors of neighbouring channels, eight pixels at a time in registers; nothing is packed.
// Parallel over output rows of all images.
// Order: one FMA chain per output over (kh, kw) ascending; a window has at most order::k_chunk taps.
// Error: (taps + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_channels.hpp"

namespace tenon::cpu::TENON_ISA {

void conv2d_depthwise(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t rows = std::int64_t{g.n} * g.oh, line = std::int64_t{p.padded_w} * g.c, channels = g.c;
  const ChannelTaps taps{g.kh, g.kw, g.dilation_h * line, g.dilation_w * channels, g.kw * channels, channels};
  const float* bias = g.bias ? input<float>(call, 2) : nullptr;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num();
    Images images = images_of(p, input<float>(call, 0), work + p.scratch_at + thread * p.scratch_each);
    const Range mine = part(rows, thread, omp_get_num_threads());
    pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, [&](const auto& f) {
      for (std::int64_t row = mine.begin; row < mine.end; ++row) {
        images.load(row / g.oh, row / g.oh + 1);
        const float* x = images.at(row / g.oh) + row % g.oh * g.stride_h * line;
        float* y = output<float>(call, 0) + row * g.ow * channels;
        channel_row(x, g.stride_w * channels, input<float>(call, 1), taps, g.ow, channels,
                    [&](std::int64_t px, std::int64_t c, Vf sum, auto lanes) {
                      lanes.store(y + px * channels + c, f.value(bias != nullptr ? sum + lanes.load(bias + c) : sum));
                    });
        finish_unit(p, call, row);
      }
    });
  }
}

}  // namespace tenon::cpu::TENON_ISA
