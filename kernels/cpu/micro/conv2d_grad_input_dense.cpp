// conv2d_grad_input where every term is alive: the direct convolution of dz with the filter turned around.
// gx(iy,ix,c) = sum over the taps that reach it, (oy, ox, k) ascending, of dz(oy,ox,k) filter(kh,kw,c,k), where
// oy stride = iy + pad - kh dilation. With a stride, pixels that agree modulo the stride see the same taps: they are a
// class, and a class is a convolution of stride 1.
// Layout: the filter is packed per class, group and panel of channels as [kh descending][kw descending][k][panel]; dz
// of an image lies in scratch with zeros around it, unless none is read and gy is dz already.
// Parallel over rows of gx, and over panels where rows are few.
// Order: one FMA chain per gx, no chunks; a long chain pauses in memory after each k_chunk terms, so that a piece of the
// filter serves a block of rows.
// Error: terms * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_classes.hpp"
#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_tile.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Panels of a group, each of `panel` channels.
TENON_INLINE std::int64_t channel_panels(const Conv2dPlan& p) { return blocks_of(p.cg, panel); }

/// Panel `i` (group, channels) of one class, [terms][panel], zero behind the last channel.
void pack_class(const Conv2dPlan& p, const float* filter, const Taps& h, const Taps& w, std::int64_t i, float* to) {
  const ConvGeometry& g = p.g;
  const std::int64_t group = i / channel_panels(p), c0 = i % channel_panels(p) * panel;
  for (std::int64_t y = 0; y < h.count; ++y)
    for (std::int64_t x = 0; x < w.count; ++x, to += p.kg * panel) {
      const std::int64_t tap = (h.first - y * h.step) * g.kw + w.first - x * w.step;
      for (std::int64_t half = 0; half < panel; half += width) {
        const float* from = filter + (tap * p.cg + c0 + half) * g.k + group * p.kg;
        const std::int64_t rows = smaller(p.cg - c0 - half, width);
        std::int64_t k = 0;
        if (rows > 0)
          for (; k + width <= p.kg; k += width) transpose_square(from + k, g.k, rows, to + k * panel + half, panel);
        for (; k < p.kg; ++k)
          for (std::int64_t j = 0; j < width; ++j) to[k * panel + half + j] = j < rows ? from[j * g.k + k] : 0.f;
      }
    }
}

/// dz of image n, with zeros around it.
void place_dz(const Conv2dPlan& p, const Call& call, std::int64_t n, float* to) {
  const ConvGeometry& g = p.g;
  const DzFrame& f = p.dz;
  clear_floats(to, f.h * f.w * g.k);
  const Range rows{larger(f.top, 0), smaller(f.top + f.h, g.oh)},
      columns{larger(f.left, 0), smaller(f.left + f.w, g.ow)};
  if (columns.size() <= 0) return;
  const PrologueGeometry undo = prologue_of(g);
  for (std::int64_t oy = rows.begin; oy < rows.end; ++oy) {
    const std::int64_t at = ((n * g.oh + oy) * g.ow + columns.begin) * g.k, count = columns.size() * g.k;
    float* line = to + ((oy - f.top) * f.w + columns.begin - f.left) * g.k;
    if (undo.any)
      undo_elements(undo, call, at, count, line);
    else
      std::memcpy(line, input<float>(call, 0) + at, static_cast<std::size_t>(count) * sizeof(float));
  }
}

/// dz of some images with zeros around it, or gy itself where nothing is undone and no zero is read.
struct Gradients {
  const float* gy;
  bool in_place;
  HeldImages held;

  TENON_MEMBER const float* at(std::int64_t n) const { return in_place ? gy + n * held.each : held.at(n); }
};
TENON_INLINE bool lies_there(const Conv2dPlan& p) {
  const DzFrame& f = p.dz;
  return !prologue_of(p.g).any && f.top == 0 && f.left == 0 && f.h == p.g.oh && f.w == p.g.ow;
}

struct Block {
  const Conv2dPlan& p;
  const Call& call;
  const float* packed;
  const Gradients& dz;
  Range units;         // rows of gx, over all images
  std::int64_t first;  // panel
  float* z;            // (units, pixels of a class, panel)
};

/// One class and panel of a block of rows.
void run_class(const Block& b, std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w, const float* packed,
               std::int64_t i) {
  const Conv2dPlan& p = b.p;
  const ConvGeometry& g = p.g;
  const std::int64_t pixels = blocks_of(g.w - rx, g.stride_w), tile_count = blocks_of(pixels, tile_height);
  const std::int64_t terms = h.count * w.count * p.kg, line = p.dz.w * g.k;
  const std::int64_t group = i / channel_panels(p), c0 = group * p.cg + i % channel_panels(p) * panel;
  const std::int64_t count = smaller(panel, (group + 1) * p.cg - c0);
  const bool joined = g.groups == 1 && p.dz.reach_w == 1;
  const Runs runs = joined ? Runs{h.count, 1, w.count * p.kg, p.dz.reach_h * line, 0}
                           : Runs{h.count, w.count, p.kg, p.dz.reach_h * line, p.dz.reach_w * g.k};
  // Whole panels sum up in gx itself, others in z.
  const bool straight = count == panel && terms > 0;
  const bool fetch_x = b.dz.in_place && terms == p.kg && i == b.first;
  const auto each_row = [&](const auto& body) {
    for (std::int64_t unit = b.units.begin; unit < b.units.end; ++unit) {
      if (unit % g.h % g.stride_h != ry) continue;
      float* gx = output<float>(b.call, 0) + (unit * g.w + rx) * g.c + c0;
      float* z = b.z + (unit - b.units.begin) * pixels * panel;
      body(unit, straight ? TileEnd{gx, g.stride_w * g.c} : TileEnd{z, panel}, gx);
    }
  };
  for (std::int64_t piece = 0; piece < terms; piece += order::k_chunk)
    each_row([&](std::int64_t unit, const TileEnd& to, float*) {
      // Terms whose rows of dz are there.
      const std::int64_t row = w.count * p.kg;
      const Range rows = taps_there(unit % g.h / g.stride_h + h.at, h.count, p.dz.reach_h, g.oh);
      const Range inside{larger(piece, rows.begin * row), smaller(piece + order::k_chunk, rows.end * row)};
      const float* x = b.dz.at(unit / g.h) + (unit % g.h / g.stride_h + h.at - p.dz.top) * line +
                       (w.at - p.dz.left) * g.k + group * p.kg;
      for (std::int64_t t = 0; t < tile_count; ++t) {
        const Range px = part(pixels, t, tile_count);
        const TileEnd there = to.from(px.begin);
        tiles[px.size()]({x + px.begin * g.k, g.k, runs, packed, inside.begin, inside.end, piece > 0, there, straight,
                          fetch_x && piece == 0});
      }
    });
  if (straight) return;
  each_row([&](std::int64_t, const TileEnd& sums, float* gx) {
    for (std::int64_t px = 0; px < pixels; ++px)
      for_each_lanes(count, [&](std::int64_t j, auto lanes) {
        lanes.store(gx + px * g.stride_w * g.c + j, terms == 0 ? Vf{} : lanes.load(sums.z + px * panel + j));
      });
  });
}

}  // namespace

void conv2d_grad_input_dense(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  float* packed = work + p.filter_at;
  const std::int64_t units = std::int64_t{g.n} * g.h, panels = g.groups * channel_panels(p),
                     frame = p.dz.h * p.dz.w * g.k;
  const std::int32_t threads = team_size(call, p);
  const bool by_panel = units < 4 * threads && panels >= threads;
  Shares shares(threads, by_panel ? panels : units,
                by_panel ? blocks_of(panels, threads) : smaller(p.unit_block, blocks_of(units, 4 * threads)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    for_each_class(p, [&](std::int64_t, std::int64_t, const Taps& h, const Taps& w, std::int64_t before) {
      const Range mine = part(panels, thread, team);
      const std::int64_t at = panels * before * p.kg * panel;
      for (std::int64_t i = mine.begin; i < mine.end; ++i)
        pack_class(p, input<float>(call, 1), h, w, i, packed + at + i * h.count * w.count * p.kg * panel);
    });
#pragma omp barrier
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
    Gradients dz{input<float>(call, 0), lies_there(p), {scratch, frame}};
    float* z = scratch + p.images_block * frame;
    for (Range some{}; shares.take(thread, some);) {
      const Range mine = by_panel ? Range{0, units} : some, which = by_panel ? some : Range{0, panels};
      for (std::int64_t begin = mine.begin; begin < mine.end; begin += p.unit_block) {
        const std::int64_t end = smaller(begin + p.unit_block, mine.end);
        if (!dz.in_place)
          dz.held.hold({begin / g.h, (end - 1) / g.h + 1},
                       [&](std::int64_t n, float* to) { place_dz(p, call, n, to); });
        const Block block{p, call, packed, dz, {begin, end}, which.begin, z};
        for (std::int64_t i = which.begin; i < which.end; ++i)
          for_each_class(p, [&](std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w, std::int64_t before) {
            run_class(block, ry, rx, h, w, packed + (panels * before + i * h.count * w.count) * p.kg * panel, i);
          });
      }
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
