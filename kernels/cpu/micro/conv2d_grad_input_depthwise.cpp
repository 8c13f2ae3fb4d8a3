// conv2d_grad_input_depthwise: gx(n,iy,ix,c) = sum over the taps that reach it of dz(n,oy,ox,c) filter(kh,kw,c), where every
// channel has a filter of its own and oy stride = iy + pad - kh dilation. dz undoes the epilogue.
// Layout: the filter is read where it lies, backwards, gy too unless its epilogue has to be undone; vectors of channels, up to
// eight pixels of a class (conv2d_classes.hpp) at a time in registers.
// Parallel over rows of gx.
// Order: one FMA chain per gx, (oy, ox) ascending. Error: taps * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_channels.hpp"
#include "kernels/cpu/micro/conv2d_classes.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// The pixels of one class of a row of gx; dz is that of its image.
void class_row(const Conv2dPlan& p, const float* dz, const float* filter, std::int64_t iy, std::int64_t rx,
               const Taps& h, const Taps& w, float* gx) {
  const ConvGeometry& g = p.g;
  const std::int64_t top = iy / g.stride_h + h.at, line = std::int64_t{g.ow} * g.c;
  // Rows of dz that are there.
  const Range there = taps_there(top, h.count, p.dz.reach_h, g.oh);
  const ChannelTaps taps{there.size(),         w.count,      w.at, 1, p.dz.reach_w, g.ow, p.dz.reach_h * line,
                         -h.step * g.kw * g.c, -w.step * g.c};
  // The classes of a row of gx share its pixels: the first asks for the next row of all. That row meets a new row of dz where
  // it is the first of a stride.
  const bool first = rx == 0;
  const RowAhead ahead{dz + (top + there.end * p.dz.reach_h) * line, first && (iy + 1) % g.stride_h == 0 ? 1 : 0,
                       gx + std::int64_t{g.w} * g.c, first ? g.stride_w : 0};
  channel_row(dz + (top + there.begin * p.dz.reach_h) * line,
              filter + ((h.first - there.begin * h.step) * g.kw + w.first) * g.c, taps, blocks_of(g.w - rx, g.stride_w),
              g.c, {gx + rx * g.c, std::int64_t{g.stride_w} * g.c}, ahead);
}

}  // namespace

void conv2d_grad_input_depthwise(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t rows = std::int64_t{g.n} * g.h;
  const std::int32_t threads = team_size(call, p);
  Shares shares(threads, rows, smaller(g.h, blocks_of(rows, 16 * threads)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num();
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
    std::int64_t held = -1;
    const float* dz = nullptr;
    for (Range mine{}; shares.take(thread, mine);)
      for (std::int64_t row = mine.begin; row < mine.end; ++row) {
        if (row / g.h != held) dz = dense_dz(p, call, held = row / g.h, scratch);
        for_each_class(p, [&](std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w, std::int64_t) {
          if (row % g.h % g.stride_h == ry)
            class_row(p, dz, input<float>(call, 1), row % g.h, rx, h, w, output<float>(call, 0) + row * g.w * g.c);
        });
      }
  }
}

}  // namespace tenon::cpu::TENON_ISA
