// conv2d_grad_filter_dense: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where every term is alive: a product of the taps of x, turned, with dz. dz undoes the epilogue.
// Layout: a block of output positions at a time, rows of an image or whole small images: dz is packed as panels
// [position][two vectors of k], x as tiles [position][up to 14 (6) taps], with zeros where a tap lies in the padding. Both
// stay in L2, sums of a tile of taps times a panel in registers.
// Parallel over groups of order::sample_group images; where those are few, over tiles of taps or over panels, too.
// Order: one FMA chain per sample group over (n, oy, ox) ascending, pausing in memory between blocks; pair tree.
// Error: (terms of a group + log2 of the groups) * 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"
#include "kernels/cpu/micro/gemm_chain.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Rows of some images; more than one image only where rows are all of them.
struct Block {
  Range images, rows;
  TENON_MEMBER std::int64_t positions(const ConvGeometry& g) const { return images.size() * rows.size() * g.ow; }
};

/// Taps of one row of the window that are neighbours in memory.
struct Segment {
  std::int64_t at, size;         // in the tile
  std::int64_t kh, first, last;  // kw from first to last
  std::int64_t c;                // channel of the first tap
};

/// body(segment) for the pieces of a tile of terms (kh,kw,c).
template <class Body>
TENON_INLINE void for_each_segment(const Conv2dPlan& p, Range taps, const Body& body) {
  const std::int64_t row = std::int64_t{p.g.kw} * p.cg;
  const std::int64_t run = p.g.dilation_w == 1 && p.g.groups == 1 ? row : p.cg;
  for (std::int64_t t = taps.begin; t < taps.end;) {
    const std::int64_t end = smaller(t - t % run + run, taps.end), kw = t % row / p.cg;
    body(Segment{t - taps.begin, end - t, t / row, kw, (end - 1) % row / p.cg, t % p.cg});
    t = end;
  }
}

TENON_INLINE void copy_taps(const float* from, float* to, std::int64_t size) {
  if constexpr (tile_height < width)
    Simd::store_n(to, Simd::load_n(from, size), size);
  else
    for_each_lanes(size, [&](std::int64_t i, auto lanes) { lanes.store(to + i, lanes.load(from + i)); });
}

/// x as a tile: [position][taps].
void pack_taps(const Conv2dPlan& p, const float* x, const Block& b, std::int64_t group, Range taps, float* to) {
  const ConvGeometry& g = p.g;
  const std::int64_t height = taps.size(), step = std::int64_t{g.stride_w} * g.c;
  for_each_segment(p, taps, [&](const Segment& s) {
    const Range inside = columns_inside(g, s.first, s.last);
    float* line = to + s.at;
    for (std::int64_t n = b.images.begin; n < b.images.end; ++n)
      for (std::int64_t oy = b.rows.begin; oy < b.rows.end; ++oy, line += g.ow * height) {
        const std::int64_t iy = oy * g.stride_h + s.kh * g.dilation_h - g.pad_top;
        const bool there = iy >= 0 && iy < g.h;
        const float* row = x + (n * g.h + (there ? iy : 0)) * g.w * g.c + group * p.cg;
        const auto at_the_edge = [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t ox = begin; ox < end; ++ox)
            for (std::int64_t i = 0; i < s.size; ++i) {
              const std::int64_t ix = ox * g.stride_w + (s.first + (s.c + i) / p.cg) * g.dilation_w - g.pad_left;
              line[ox * height + i] = there && ix >= 0 && ix < g.w ? row[ix * g.c + (s.c + i) % p.cg] : 0.f;
            }
        };
        if (!there) {
          at_the_edge(0, g.ow);
          continue;
        }
        at_the_edge(0, inside.begin);
        const float* from = row + (inside.begin * g.stride_w + s.first * g.dilation_w - g.pad_left) * g.c + s.c;
        for (std::int64_t ox = inside.begin; ox < inside.end; ++ox, from += step)
          copy_taps(from, line + ox * height, s.size);
        at_the_edge(inside.end, g.ow);
      }
  });
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

/// One block: dz panels that are packed once times tiles of taps that are packed once a block of panels.
void add_block(const Conv2dPlan& p, const Call& call, const Block& b, bool first, const Share& share,
               const Target& target, const float* dz, float* packed_dz, float* packed_x) {
  const ConvGeometry& g = p.g;
  const std::int64_t positions = b.positions(g), size = positions * panel;
  const Tiles tiles = tiles_of({0, terms_of(p)});
  for (std::int64_t i0 = share.panels.begin; i0 < share.panels.end;) {
    const std::int64_t group = i0 / p.panels,
                       i1 = smaller(smaller(i0 + filter_panels, (group + 1) * p.panels), share.panels.end);
    pack_dz(p, dz, positions, {i0, i1}, packed_dz);
    if (g.bias && share.tiles.begin == 0)
      for (std::int64_t i = i0; i < i1; ++i) {
        Vf sum[2] = {};
        float* bias = target.bias(i);
        for (int v = 0; v < 2 && !first; ++v) sum[v] = Simd::load(bias + v * width);
        const float* from = packed_dz + (i - i0) * size;
        for (std::int64_t t = 0; t < positions; ++t)
          for (int v = 0; v < 2; ++v) sum[v] += Simd::load(from + t * panel + v * width);
        for (int v = 0; v < 2; ++v) Simd::store(bias + v * width, sum[v]);
      }
    for (std::int64_t t = share.tiles.begin; t < share.tiles.end; ++t) {
      const Range taps{tiles.begin(t), tiles.begin(t + 1)};
      if (!first) fetch_sums(target.of(i0, taps.begin), taps.size());
      pack_taps(p, input<float>(call, 1), b, group, taps, packed_x);
      for (std::int64_t i = i0; i < i1; ++i) {
        if (i + 1 < i1) fetch_sums(target.of(i + 1, taps.begin), taps.size());
        chains<2, 0>[taps.size()](packed_x, {packed_dz + (i - i0) * size, panel, 0}, positions, !first,
                                  target.of(i, taps.begin));
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
  float* packed_x = scratch;
  float* packed_dz = packed_x + blocks_of(most * tile_height, 16) * 16;
  float* dense = packed_dz + most * panel * filter_panels;
  std::int64_t held = -1;
  bool first = true;
  for (std::int64_t n = images.begin; n < images.end; n += p.images_block)
    for (std::int64_t y = 0; y < g.oh; y += p.unit_block) {
      const Block block{{n, smaller(n + p.images_block, images.end)}, {y, smaller(y + p.unit_block, g.oh)}};
      add_block(p, call, block, first, share, target, block_dz(p, call, block, dense, held), packed_dz, packed_x);
      first = false;
    }
}

}  // namespace

void conv2d_grad_filter_dense(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), terms = terms_of(p),
                     panels = std::int64_t{g.groups} * p.panels, tiles = blocks_of(terms, tile_height);
  float* partials = work + p.partial_at;
  float* gfilter = output<float>(call, 0);
  const bool straight = groups == 1 && p.kg % panel == 0;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    // A sample group is one chain; where groups are few, its sums are shared out as well.
    const bool by_tiles = tiles >= panels;
    const std::int64_t team = omp_get_num_threads(), splittable = by_tiles ? tiles : panels,
                       parts = team == 1 || groups >= 4 * team ? 1 : smaller(splittable, blocks_of(2 * team, groups));
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
