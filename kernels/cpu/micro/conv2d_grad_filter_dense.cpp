// conv2d_grad_filter_dense: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where every term is alive: a product of the taps of x, turned, with dz. dz undoes the epilogue.
// Layout: a block of output positions at a time, rows of an image or whole small images. Where many tiles read it, dz is
// packed as panels [position][two vectors of k]. The rows of x that the block meets lie where they are, or with zeros to
// their left and right where windows reach over the edge; where many panels read it, a tile of taps is packed,
// [position][taps]. All stay in L2, sums of a tile of up to 14 (6) neighbouring taps times a panel in registers. What the
// next block reads is asked for meanwhile.
// Parallel over groups of order::sample_group images; where those are few, over tiles of taps or over panels, too.
// Order: one FMA chain per sample group over (n, oy, ox) ascending, pausing in memory between blocks; pair tree.
// Error: (terms of a group + log2 of the groups) * 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_grad_filter_tile.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"
#include "kernels/cpu/micro/gemm_chain.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Rows of some images; more than one image only where rows are all of them.
struct Block {
  Range images, rows;
  TENON_MEMBER std::int64_t positions(const ConvGeometry& g) const { return images.size() * rows.size() * g.ow; }
  /// The rows of x that windows meet, counted through all images.
  TENON_MEMBER Range x_rows(const ConvGeometry& g) const {
    const std::int64_t begin = larger(rows.begin * g.stride_h - g.pad_top, 0),
                       end = (rows.end - 1) * g.stride_h + std::int64_t{g.kh - 1} * g.dilation_h - g.pad_top + 1;
    return {images.begin * g.h + begin, (images.end - 1) * g.h + smaller(larger(end, begin), g.h)};
  }
};

/// Terms (kh,kw,c) that are neighbours in memory, cut into tiles of at most tile_height.
struct TapTiles {
  std::int64_t runs, length;  // of neighbours
  Tiles of_run;

  TENON_MEMBER std::int64_t count() const { return runs * of_run.count; }
  /// First and last term of a tile.
  TENON_MEMBER Range taps(std::int64_t t) const {
    const std::int64_t first = t / of_run.count * length, i = t % of_run.count;
    return {first + of_run.begin(i), first + of_run.begin(i + 1)};
  }
};
TENON_INLINE TapTiles tap_tiles(const Conv2dPlan& p) {
  const bool joined = p.g.dilation_w == 1 && p.g.groups == 1;
  const std::int64_t length = joined ? std::int64_t{p.g.kw} * p.cg : p.cg;
  return {terms_of(p) / length, length, tiles_of({0, length})};
}

/// The rows of x that a block meets; floats from image to image and from row to row.
struct XRows {
  const float* at;  // row `top` of the first image, column -pad_left
  std::int64_t top, image, row;
};

/// Copies them into `to`, with zeros where windows reach over the left and right edge, or leaves them where they are.
TENON_INLINE XRows x_rows_of(const Conv2dPlan& p, const float* x, const Block& b, float* to) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{g.w} * g.c;
  if (!p.padded) return {x + b.images.begin * g.h * line, 0, g.h * line, line};
  const std::int64_t row = std::int64_t{p.padded_w} * g.c, image = p.padded_h * row, left = g.pad_left * g.c,
                     count = smaller(g.w, p.padded_w - g.pad_left) * g.c, top = b.rows.begin * g.stride_h - g.pad_top;
  const Range there{larger(top, 0), smaller(top + p.padded_h, g.h)};
  for (std::int64_t n = b.images.begin; n < b.images.end; ++n)
    for (std::int64_t iy = there.begin; iy < there.end; ++iy)
      place_row(x + (n * g.h + iy) * line, count, left, row, to + (n - b.images.begin) * image + (iy - top) * row);
  return {to, top, image, row};
}

/// dz (positions, k) as panels i in `which`: [position][panel], zero behind the last filter of a group.
void pack_dz(const Conv2dPlan& p, const float* dz, std::int64_t positions, Range which, float* to) {
  for (std::int64_t i = which.begin; i < which.end; ++i) {
    const std::int64_t q = i % p.panels, count = smaller(panel, p.kg - q * panel);
    const float* from = dz + i / p.panels * p.kg + q * panel;
    if (count == panel) {
      for (std::int64_t t = 0; t < positions; ++t, from += p.g.k, to += panel)
        for (int j = 0; j < panel; j += width) Simd::store(to + j, Simd::load(from + j));
      continue;
    }
    for (std::int64_t t = 0; t < positions; ++t, from += p.g.k, to += panel) {
      for (int j = 0; j < panel; j += width) Simd::store(to + j, Vf{});
      for_each_lanes(count, [&](std::int64_t j, auto lanes) { lanes.store(to + j, lanes.load(from + j)); });
    }
  }
}

/// dz of a block, (positions, k): gy itself where nothing is undone. `held` is the image that is in `to`, where a pool asks
/// for whole images.
TENON_INLINE const float* block_dz(const Conv2dPlan& p, const Call& call, const Block& b, float* to,
                                   std::int64_t& held) {
  const ConvGeometry& g = p.g;
  const std::int64_t row = std::int64_t{g.ow} * g.k, full = g.oh * row,
                     first = b.images.begin * full + b.rows.begin * row;
  if (g.pool) {
    if (held != b.images.begin)
      for (std::int64_t n = b.images.begin; n < b.images.end; ++n)
        dense_dz(p, call, n, to + (n - b.images.begin) * full);
    held = b.images.begin;
    return to + b.rows.begin * row;
  }
  const PrologueGeometry undo = prologue_of(g);
  if (!undo.any) return input<float>(call, 0) + first;
  undo_elements(undo, call, first, b.positions(g) * g.k, to);
  return to;
}

/// Where the sums of a sample group go: gfilter itself, where that is the only group and panels are whole, or panels of
/// partial sums [panel][term][2 width]; those of the bias lie behind them in either case.
struct Target {
  const Conv2dPlan& p;
  float* gfilter;  // or nullptr
  float* partial;

  TENON_MEMBER Sums of(std::int64_t i, std::int64_t term) const {
    if (gfilter != nullptr) return {gfilter + term * p.g.k + i / p.panels * p.kg + i % p.panels * panel, p.g.k, 0};
    return {partial + (i * terms_of(p) + term) * panel, panel, 0};
  }
  TENON_MEMBER float* bias(std::int64_t i) const {
    return partial + (std::int64_t{p.g.groups} * p.panels * terms_of(p) + i) * panel;
  }
};

/// What one thread does of a sample group.
struct Share {
  Range tiles, panels;  // of the terms; of all groups' filters
};

/// Asks for the sums of a tile while another is computed.
TENON_INLINE void fetch_sums(const Sums& sums, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (int j = 0; j < panel; j += 16) __builtin_prefetch(sums.at + r * sums.row_step + j, 1);
}

/// Panel i of the bias: the sum of its dz, position by position.
TENON_INLINE void add_bias(const float* dz, std::int64_t step, std::int64_t positions, bool first, float* bias) {
  Vf sum[2] = {};
  for (int v = 0; v < 2 && !first; ++v) sum[v] = Simd::load(bias + v * width);
  for (std::int64_t t = 0; t < positions; ++t)
    for (int v = 0; v < 2; ++v) sum[v] += Simd::load(dz + t * step + v * width);
  for (int v = 0; v < 2; ++v) Simd::store(bias + v * width, sum[v]);
}

/// Where it does not pay to pack dz: tiles that read it times floats between positions, at most.
constexpr std::int64_t in_place_floats = 1280;
/// Where it pays to pack x: panels that read it, and floats between positions. Far apart, they share few sets of L1.
constexpr std::int64_t packed_panels = 4, packed_step = 128;

/// x of a tile as [position][taps], in `to`, which has room for a vector more.
TENON_INLINE void pack_taps(TapArgs& a, std::int64_t taps, float* to) {
  const TapArgs from = a;
  a.x = to;
  a.step = taps;
  a.row_step = a.columns * taps;
  a.image_step = a.rows * a.row_step;
  for (std::int64_t n = 0; n < from.images; ++n)
    for (std::int64_t y = 0; y < from.rows; ++y) {
      const float* x = from.x + n * from.image_step + y * from.row_step;
      for (std::int64_t i = 0; i < from.columns; ++i, x += from.step, to += taps) {
        // What a whole vector writes behind its taps belongs to the next position.
        if constexpr (tile_height < width)
          Simd::store(to, Simd::load_n(x, taps));
        else
          for_each_lanes(taps, [&](std::int64_t j, auto lanes) { lanes.store(to + j, lanes.load(x + j)); });
      }
    }
}

/// One block: panels of dz times tiles of taps.
void add_block(const Conv2dPlan& p, const Block& b, bool first, const Share& share, const Target& target,
               const float* dz, const XRows& x, float* packed_dz, float* packed_x, LinesAhead& ahead) {
  const ConvGeometry& g = p.g;
  const TapTiles tiles = tap_tiles(p);
  // Whole panels that few tiles read, with positions not far apart, are read where they lie.
  const bool in_place = p.kg % panel == 0 && share.tiles.size() * g.k <= in_place_floats;
  const std::int64_t positions = b.positions(g), step = in_place ? g.k : panel, line = g.ow * step,
                     size = in_place ? panel : positions * panel;  // from panel to panel
  for (std::int64_t i0 = share.panels.begin; i0 < share.panels.end;) {
    const std::int64_t group = i0 / p.panels,
                       i1 = smaller(smaller(i0 + filter_panels, (group + 1) * p.panels), share.panels.end);
    if (!in_place) pack_dz(p, dz, positions, {i0, i1}, packed_dz);
    const float* panels = in_place ? dz + i0 * panel : packed_dz;
    if (g.bias && share.tiles.begin == 0)
      for (std::int64_t i = i0; i < i1; ++i) add_bias(panels + (i - i0) * size, step, positions, first, target.bias(i));
    for (std::int64_t t = share.tiles.begin; t < share.tiles.end; ++t) {
      const Range taps = tiles.taps(t);
      if (!first) fetch_sums(target.of(i0, taps.begin), taps.size());
      const std::int64_t kh = taps.begin / (g.kw * p.cg), kw = taps.begin / p.cg % g.kw, c = taps.begin % p.cg;
      // Output rows whose row of x is there.
      const std::int64_t shift = kh * g.dilation_h - g.pad_top;
      const Range there = windows_inside(b.rows.begin * g.stride_h + shift, 0, g.stride_h, g.h, b.rows.size());
      TapArgs args{x.at + ((b.rows.begin + there.begin) * g.stride_h + shift - x.top) * x.row +
                       (kw * g.dilation_w * g.c + group * p.cg + c),
                   x.image,
                   g.stride_h * x.row,
                   std::int64_t{g.stride_w} * g.c,
                   panels + there.begin * line,
                   step,
                   b.rows.size() * line,
                   b.images.size(),
                   there.size(),
                   g.ow,
                   !first};
      if (i1 - i0 >= packed_panels && args.step >= packed_step) pack_taps(args, taps.size(), packed_x);
      for (std::int64_t i = i0; i < i1; ++i, args.dz += size) {
        if (i + 1 < i1) fetch_sums(target.of(i + 1, taps.begin), taps.size());
        tap_chains[taps.size()](args, target.of(i, taps.begin), ahead);
      }
    }
    i0 = i1;
  }
}

/// One share of a sample group, block by block.
void add_group(const Conv2dPlan& p, const Call& call, Range images, const Share& share, const Target& target,
               float* scratch) {
  const ConvGeometry& g = p.g;
  const std::int64_t most = p.images_block * p.unit_block * g.ow;
  float* frame = scratch;
  float* packed_dz = frame + blocks_of(p.images_block * padded_floats(p), 16) * 16;
  float* packed_x = packed_dz + most * panel * filter_panels;
  float* dense = packed_x + blocks_of(most * tile_height + width, 16) * 16;
  const float* x = input<float>(call, 1);
  std::int64_t held = -1;
  bool first = true;
  const auto each_block = [&](const auto& body) {
    for (std::int64_t n = images.begin; n < images.end; n += p.images_block)
      for (std::int64_t y = 0; y < g.oh; y += p.unit_block)
        body(Block{{n, smaller(n + p.images_block, images.end)}, {y, smaller(y + p.unit_block, g.oh)}});
  };
  Block block{};
  const auto add = [&](const Block& next, bool last) {
    LinesAhead ahead{};
    if (!last) {
      // Turns in which lines can be asked for: every four positions of every chain.
      const std::int64_t turns =
          share.tiles.size() * share.panels.size() * block.images.size() * block.rows.size() * (g.ow / 4);
      const Range met = block.x_rows(g), rows = next.x_rows(g);
      const std::int64_t begin = larger(met.end, rows.begin), line = std::int64_t{g.w} * g.c;
      ahead.x = {x + begin * line, x + larger(rows.end, begin) * line};
      const float* gy = input<float>(call, 0) + (next.images.begin * g.oh + next.rows.begin) * g.ow * g.k;
      if (!g.pool) ahead.dz = {gy, gy + next.positions(g) * g.k};
      ahead.each = smaller(blocks_of(ahead.x.lines() + ahead.dz.lines(), larger(turns, 1)), 8);
    }
    add_block(p, block, first, share, target, block_dz(p, call, block, dense, held), x_rows_of(p, x, block, frame),
              packed_dz, packed_x, ahead);
    first = false;
  };
  each_block([&](const Block& next) {
    if (block.images.size() > 0) add(next, false);
    block = next;
  });
  add(block, true);
}

}  // namespace

void conv2d_grad_filter_dense(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), terms = terms_of(p),
                     panels = std::int64_t{g.groups} * p.panels, tiles = tap_tiles(p).count();
  float* partials = work + p.partial_at;
  float* gfilter = output<float>(call, 0);
  const bool straight = groups == 1 && p.kg % panel == 0;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    // A sample group is one chain; where groups are few and do not come out even, its sums are shared out as well: then
    // each share reads x and dz.
    const std::int64_t team = omp_get_num_threads();
    const bool by_tiles = tiles >= panels;
    const std::int64_t splittable = by_tiles ? tiles : panels,
                       parts = shared_evenly(groups, team) ? 1 : smaller(splittable, blocks_of(2 * team, groups));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < groups * parts; ++i) {
      const std::int64_t s = i / parts;
      const Range mine = part(splittable, i % parts, parts), all_tiles{0, tiles}, all_panels{0, panels};
      add_group(p, call, {s * order::sample_group, smaller(g.n, (s + 1) * order::sample_group)},
                by_tiles ? Share{mine, all_panels} : Share{all_tiles, mine},
                {p, straight ? gfilter : nullptr, partials + s * p.partial_each}, scratch);
    }
    if (!straight) {
      join_partials(partials, p.partial_each, groups);
#pragma omp for schedule(static)
      for (std::int64_t t = 0; t < terms; ++t)
        for (std::int64_t i = 0; i < panels; ++i) {
          const std::int64_t q = i % p.panels;
          const float* from = partials + (i * terms + t) * panel;
          float* to = gfilter + t * g.k + i / p.panels * p.kg + q * panel;
          for_each_lanes(smaller(panel, p.kg - q * panel),
                         [&](std::int64_t j, auto lanes) { lanes.store(to + j, lanes.load(from + j)); });
        }
    }
  }
  if (!g.bias) return;
  for (std::int64_t i = 0; i < panels; ++i) {
    const std::int64_t q = i % p.panels;
    std::memcpy(output<float>(call, 1) + i / p.panels * p.kg + q * panel, partials + (panels * terms + i) * panel,
                static_cast<std::size_t>(smaller(panel, p.kg - q * panel)) * sizeof(float));
  }
}

}  // namespace tenon::cpu::TENON_ISA
