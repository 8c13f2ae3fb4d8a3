// conv2d_bf16: y = epilogue(correlation of x (n,h,w,c) with filter (kh,kw,c,k)), both rounded to bf16.
// Layout: an image becomes bf16 once, channels padded to a multiple of 32, as phases of the stride (Bf16Conv). Pixels
// are then rows of a tile as they lie: a tile takes 16 neighbouring positions and 32 channels of one tap, over the ends
// of rows. The filter is packed as panels of 32 filters, [taps][32 channels][16 filters][tile].
// The sums of a block of rows wait in L2 for bias, activation and pool, as in conv2d_direct.
// Parallel over blocks of rows, and over panels where those are few.
// Order: one chain per output over (kh, kw, c) ascending, 32 channels at a time, no chunks.
// Error: (2 * 2^-8 + (terms + 1) * 2^-24) * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/bf16_image.hpp"
#include "kernels/cpu/micro/conv2d_store.hpp"

namespace tenon::cpu::TENON_ISA {

void bf16_conv2d(const Call& call) {
  const auto& p = geometry<Bf16Conv>(call);
  const ConvGeometry& g = p.conv.g;
  auto* packed = reinterpret_cast<Bf16*>(static_cast<float*>(call.workspace) + p.conv.filter_at);
  const std::int64_t taps = std::int64_t{g.kh} * g.kw, panels = p.conv.panels, items = g.n * row_blocks(p, g.ph);
  const std::int64_t panel_size = 2 * taps * p.depth * tile_columns, rows = g.pool ? 2 : 1;
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const Range own = part(panels, thread, team);
    for (std::int64_t i = own.begin; i < own.end; ++i) {
      Bf16* to = packed + i * panel_size;
      for (std::int64_t t = 0; t < taps; ++t)
        to = pack_tap(input<float>(call, 1) + t * g.c * g.k + i * block_side, g.c, g.k,
                      smaller(block_side, g.k - i * block_side), 1, to);
    }
#pragma omp barrier
    const TileScope tiles;
    const Scratch scratch = scratch_of(p, call, thread);
    for (std::int64_t t = 0; t < taps; ++t)
      scratch.taps[t] = position_of(p, t / g.kw * g.dilation_h, t % g.kw * g.dilation_w) * p.depth;
    // Dropout passes over whole units, so that it needs all panels of a unit on one thread.
    const bool by_panel = items < 4 * team && panels >= team && !g.mask;
    const Range mine = by_panel ? Range{0, items} : part(items, thread, team);
    const Range which = by_panel ? part(panels, thread, team) : Range{0, panels};
    std::int64_t there = -1;
    for (std::int64_t item = mine.begin; item < mine.end; ++item) {
      const auto [n, units] = row_block(p, g.ph, item);
      if (n != there) pack_image(p, input<float>(call, 0), n, scratch.image);
      there = n;
      const std::int64_t first = units.begin * rows, count = units.size() * rows;
      for (std::int64_t i = which.begin; i < which.end; ++i) {
        const std::int64_t k = i * block_side, columns = smaller(block_side, g.k - k);
        convolve(p, {scratch.image + first * p.line * p.depth, scratch.taps, taps, packed + i * panel_size, columns},
                 (count - 1) * p.line + g.ow, scratch.sums);
        for (std::int64_t unit = units.begin; unit < units.end; ++unit)
          store_unit(p.conv, call,
                     {scratch.sums + (unit * rows - first) * p.line * block_side, block_side, p.line * block_side},
                     n * g.ph + unit, k, columns);
      }
      for (std::int64_t unit = units.begin; unit < units.end; ++unit) finish_unit(p.conv, call, n * g.ph + unit);
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
