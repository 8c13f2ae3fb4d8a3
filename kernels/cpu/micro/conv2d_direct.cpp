// conv2d_direct: y = epilogue(correlation of x (n,h,w,c) with filter (kh,kw,c/groups,k)).
// Layout: the filter is packed per group as panels of two vectors of filters, [kh kw c][2 width]; a tile is up to 14 (6
// with 16 registers) neighbouring pixels of an output row times one panel, in registers. With a pooled epilogue two output
// rows are computed into L1 and pooled there: the full map is never stored.
// A thread works on a block of rows at a time, panel by panel and chunk by chunk, so that a piece of the filter is read
// from L2 once a block.
// Parallel over output rows (or row pairs) of all images, and over panels where rows are few.
// Order: one FMA chain per output over (kh, kw, c) ascending inside chunks of order::k_chunk; pair tree over chunks.
// Error: (min(terms, 1024) + log2 of the chunks + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_store.hpp"
#include "kernels/cpu/micro/conv2d_tile.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Filters of group `group`, panel `q`: [taps c][panel], zero behind the last filter.
void pack_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t group, std::int64_t q) {
  const std::int64_t terms = terms_of(p), first = group * p.kg + q * panel;
  const std::int64_t count = smaller(panel, p.kg - q * panel);
  for (std::int64_t t = 0; t < terms; ++t) {
    if (count < panel)
      for (int j = 0; j < panel; j += width) Simd::store(to + t * panel + j, Vf{});
    for_each_lanes(count, [&](std::int64_t j, auto lanes) {
      lanes.store(to + t * panel + j, lanes.load(filter + t * p.g.k + first + j));
    });
  }
}

/// One output row over some terms.
void output_row(const Conv2dPlan& p, const float* x, const float* w, Range terms, const TileEnd& to, bool fetch_x,
                Lines ahead) {
  const std::int64_t count = blocks_of(p.g.ow, tile_height), step = std::int64_t{p.g.stride_w} * p.g.c;
  const Runs runs = runs_of(p);
  const std::int64_t each = blocks_of(ahead.lines(), count);
  for (std::int64_t t = 0, px = 0; t < count; ++t) {
    const std::int64_t end = (t + 1) * p.g.ow / count;
    for (const float* last = ahead.at + each * 16; ahead.at < last; ahead.at += 16) __builtin_prefetch(ahead.at, 0, 2);
    tiles[end - px](
        {x + px * step, step, runs, w, terms.begin, terms.end, false, to.from(px), to.step != panel, fetch_x});
    px = end;
  }
}

/// The terms of one chunk whose rows lie in the image, for output row oy.
TENON_INLINE Range terms_inside(const Conv2dPlan& p, std::int64_t oy, std::int64_t chunk) {
  const ConvGeometry& g = p.g;
  const std::int64_t row = std::int64_t{g.kw} * p.cg;
  const TapRange there = taps_inside(static_cast<std::int32_t>(oy) * g.stride_h - g.pad_top, g.kh, g.dilation_h, g.h);
  return {larger(chunk * order::k_chunk, there.first * row), smaller((chunk + 1) * order::k_chunk, there.last * row)};
}

/// The part of the next image that is asked for while a unit is computed, where images are copied and two of them fit into
/// L2: so the copy finds them there.
TENON_INLINE Lines next_image(const Conv2dPlan& p, const Call& call, std::int64_t unit) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{g.w} * g.c, n = unit / g.ph + 1;
  if (!p.padded || n >= g.n || g.h * line > 1 << 18) return {};
  const Range rows = part(g.h, unit % g.ph, g.ph);
  const float* image = input<float>(call, 0) + n * g.h * line;
  return {image + rows.begin * line, image + rows.end * line};
}

/// Panels [first, last) of units [begin, end): at most p.unit_block of them.
void run_block(const Conv2dPlan& p, const Call& call, const Images& images, const float* packed, float* stack,
               std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last) {
  const ConvGeometry& g = p.g;
  const std::int64_t rows = g.pool ? 2 : 1, line = std::int64_t{p.padded_w} * g.c, terms = terms_of(p);
  const std::int64_t chunks = order::chunks(terms, order::k_chunk), z_size = rows * g.ow * panel,
                     entry = (end - begin) * z_size;
  const auto fn = static_cast<op::UnaryFn>(g.activation);
  const bool relu = fn == op::UnaryFn::relu;
  // A single tap in an image that lies where it is: every pixel is new. The first panel brings them.
  const bool fetch_x = !p.padded && g.kh == 1 && g.kw == 1;
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t group = i / p.panels, q = i % p.panels;
    const std::int64_t k = group * p.kg + q * panel, count = smaller(panel, p.kg - q * panel);
    // Sums go from registers to y where the tile can do all that is left to do.
    const bool straight = chunks == 1 && !g.pool && count == panel && in_registers(fn);
    int height = 0;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t oy = unit % g.ph * rows;
        const float* x = images.at(unit / g.ph) + oy * g.stride_h * line + group * p.cg;
        if (straight) {
          output_row(
              p, x, packed + i * terms * panel, terms_inside(p, oy, chunk),
              {output<float>(call, 0) + unit * g.ow * g.k + k, g.k, g.bias ? input<float>(call, 2) + k : nullptr, relu},
              fetch_x && i == first, i == first && chunk == 0 ? next_image(p, call, unit) : Lines{});
          continue;
        }
        // One chunk leaves as soon as it is there; more wait in the pair tree of the block.
        float* z = stack + (chunks == 1 ? 0 : height * entry + (unit - begin) * z_size);
        for (std::int64_t r = 0; r < rows; ++r)
          output_row(p, x + r * g.stride_h * line, packed + i * terms * panel, terms_inside(p, oy + r, chunk),
                     {z + r * g.ow * panel, panel}, fetch_x && i == first,
                     i == first && chunk == 0 ? next_image(p, call, unit) : Lines{});
        if (chunks == 1) store_unit(p, call, {z, panel, g.ow * panel}, unit, k, count);
      }
      if (chunks > 1)
        height = order::tree_push(
            chunk, height, [&](int below, int top) { add_floats(stack + below * entry, stack + top * entry, entry); });
    }
    if (chunks == 1) continue;
    order::tree_finish(height,
                       [&](int below, int top) { add_floats(stack + below * entry, stack + top * entry, entry); });
    for (std::int64_t unit = begin; unit < end; ++unit)
      store_unit(p, call, {stack + (unit - begin) * z_size, panel, g.ow * panel}, unit, k, count);
  }
}

}  // namespace

void conv2d_direct(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t terms = terms_of(p), units = g.n * g.ph, panels = std::int64_t{g.groups} * p.panels;
  const std::int32_t threads = team_size(call, p);
  // Dropout passes over whole units, so that it needs all panels of a unit on one thread.
  const bool by_panel = units < 4 * threads && panels >= threads && !g.mask;
  Shares shares(threads, by_panel ? panels : units,
                by_panel ? blocks_of(panels, threads) : smaller(p.unit_block, blocks_of(units, 4 * threads)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num();
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < panels; ++i)
      pack_filter(p, input<float>(call, 1), work + p.filter_at + i * terms * panel, i / p.panels, i % p.panels);
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
    Images images = images_of(p, input<float>(call, 0), scratch);
    float* stack = scratch + p.images_block * padded_floats(p);
    for (Range some{}; shares.take(thread, some);) {
      const Range mine = by_panel ? Range{0, units} : some, which = by_panel ? some : Range{0, panels};
      for (std::int64_t begin = mine.begin; begin < mine.end; begin += p.unit_block) {
        const std::int64_t end = smaller(begin + p.unit_block, mine.end);
        images.load(begin / g.ph, (end - 1) / g.ph + 1);
        run_block(p, call, images, work + p.filter_at, stack, begin, end, which.begin, which.end);
        for (std::int64_t unit = begin; unit < end; ++unit) finish_unit(p, call, unit);
      }
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
