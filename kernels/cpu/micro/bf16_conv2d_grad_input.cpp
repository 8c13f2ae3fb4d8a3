// conv2d_grad_input_bf16: where every term is alive, the convolution of dz with the filter turned around, both rounded
// to bf16; dz is undone in fp32 before.
// gx(iy,ix,c) = sum over the taps that reach it, (oy, ox, k) ascending, of dz(oy,ox,k) filter(kh,kw,c,k). With a stride,
// classes of pixels as in conv2d_grad_input_dense.
// Layout: dz of an image as bf16 with zeros around it, filters padded to a multiple of 32: its pixels are rows of a tile.
// The filter is packed per class and panel of 32 channels as [taps descending][32 filters][16 channels][tile].
// Parallel over blocks of rows of gx, and over panels where those are few.
// Order: one chain per gx, 32 filters at a time, no chunks. Error: (2 * 2^-8 + terms * 2^-24) * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/bf16_image.hpp"
#include "kernels/cpu/micro/conv2d_classes.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// dz of image n, with zeros around it; `line` has room for a row of it.
void pack_dz(const Bf16Conv& p, const Call& call, std::int64_t n, float* line, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const DzFrame& f = p.conv.dz;
  std::memset(to, 0, static_cast<std::size_t>(p.image) * sizeof(Bf16));
  const Range rows{larger(f.top, 0), smaller(f.top + f.h, g.oh)},
      columns{larger(f.left, 0), smaller(f.left + f.w, g.ow)};
  if (columns.size() <= 0) return;
  const PrologueGeometry undo = prologue_of(g);
  for (std::int64_t oy = rows.begin; oy < rows.end; ++oy) {
    const std::int64_t at = ((n * g.oh + oy) * g.ow + columns.begin) * g.k, count = columns.size() * g.k;
    const float* dz = input<float>(call, 0) + at;
    if (undo.any) {
      undo_elements(undo, call, at, count, line);
      dz = line;
    }
    Bf16* row = to + ((oy - f.top) * p.line + columns.begin - f.left) * p.depth;
    if (g.k == p.depth)
      round_row(dz, count, row, count);
    else
      for (std::int64_t ox = 0; ox < columns.size(); ++ox) round_row(dz + ox * g.k, g.k, row + ox * p.depth, p.depth);
  }
}

/// Panel `i` of one class.
void pack_class(const Bf16Conv& p, const float* filter, const Taps& h, const Taps& w, std::int64_t i, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  for (std::int64_t y = 0; y < h.count; ++y)
    for (std::int64_t x = 0; x < w.count; ++x) {
      const std::int64_t tap = (h.first - y * h.step) * g.kw + w.first - x * w.step;
      to = pack_tap(filter + (tap * g.c + i * block_side) * g.k, g.k, 1, smaller(block_side, g.c - i * block_side), g.k,
                    to);
    }
}

/// Some rows of gx of image n, one class and panel of them.
void run_class(const Bf16Conv& p, const Call& call, const Scratch& scratch, const RowBlock& block, std::int64_t ry,
               std::int64_t rx, const Taps& h, const Taps& w, const Bf16* filters, std::int64_t c0) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t begin = blocks_of(block.rows.begin - ry, g.stride_h),
                     end = blocks_of(block.rows.end - ry, g.stride_h);
  if (begin >= end) return;
  const std::int64_t pixels = blocks_of(g.w - rx, g.stride_w), columns = smaller(block_side, g.c - c0),
                     count = h.count * w.count;
  for (std::int64_t t = 0; t < count; ++t)
    scratch.taps[t] = (t / w.count * p.conv.dz.reach_h * p.line + t % w.count * p.conv.dz.reach_w) * p.depth;
  if (count > 0)
    convolve(p,
             {scratch.image + ((begin + h.at - p.conv.dz.top) * p.line + w.at - p.conv.dz.left) * p.depth, scratch.taps,
              count, filters, columns},
             (end - begin - 1) * p.line + pixels, scratch.sums);
  for (std::int64_t row = begin; row < end; ++row) {
    const float* z = scratch.sums + (row - begin) * p.line * block_side;
    float* gx = output<float>(call, 0) + ((block.image * g.h + row * g.stride_h + ry) * g.w + rx) * g.c + c0;
    for (std::int64_t px = 0; px < pixels; ++px)
      for_each_lanes(columns, [&](std::int64_t j, auto lanes) {
        lanes.store(gx + px * g.stride_w * g.c + j, count == 0 ? Vf{} : lanes.load(z + px * block_side + j));
      });
  }
}

}  // namespace

void bf16_conv2d_grad_input(const Call& call) {
  const auto& p = geometry<Bf16Conv>(call);
  const ConvGeometry& g = p.conv.g;
  auto* packed = reinterpret_cast<Bf16*>(static_cast<float*>(call.workspace) + p.conv.filter_at);
  const std::int64_t panels = blocks_of(g.c, block_side), items = g.n * row_blocks(p, g.h),
                     tap_size = 2 * p.depth * tile_columns;
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const auto each_panel = [&](const Range& which, const auto& body) {
      for (std::int64_t i = which.begin; i < which.end; ++i)
        for_each_class(p.conv,
                       [&](std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w, std::int64_t before) {
                         body(i, ry, rx, h, w, packed + (panels * before + i * h.count * w.count) * tap_size);
                       });
    };
    each_panel(part(panels, thread, team), [&](std::int64_t i, std::int64_t, std::int64_t, const Taps& h, const Taps& w,
                                               Bf16* to) { pack_class(p, input<float>(call, 1), h, w, i, to); });
#pragma omp barrier
    const TileScope tiles;
    const Scratch scratch = scratch_of(p, call, thread);
    const bool by_panel = items < 4 * team && panels >= team;
    const Range mine = by_panel ? Range{0, items} : part(items, thread, team);
    const Range which = by_panel ? part(panels, thread, team) : Range{0, panels};
    std::int64_t there = -1;
    for (std::int64_t item = mine.begin; item < mine.end; ++item) {
      const RowBlock block = row_block(p, g.h, item);
      if (block.image != there) pack_dz(p, call, block.image, scratch.line, scratch.image);
      there = block.image;
      each_panel(which, [&](std::int64_t i, std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w,
                            const Bf16* filters) {
        run_class(p, call, scratch, block, ry, rx, h, w, filters, i * block_side);
      });
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
