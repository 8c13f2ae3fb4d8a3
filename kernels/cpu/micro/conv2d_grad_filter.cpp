// conv2d_grad_filter: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where dz undoes the epilogue. Three ways, same bits:
//   by channel   behind a pool: each k has a list of its live positions; the gradients of that k, (kh,kw,c), stay in
//                registers while the list is walked. A dead term costs nothing.
//   by tap       otherwise: a tile of (kh,kw,c) times two vectors of k in registers, over all positions.
//   depthwise    where every channel has a filter of its own: a vector of channels, three taps of a row at a time.
// Parallel over groups of order::sample_group images; each writes its partial sums, which join by the pair tree.
// Order: one FMA chain per sample group over (n, oy, ox) ascending. Error: (terms of a group + log2 of the groups) *
// 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_live.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the bias's sums begin in a sample group's partial sums: behind those of the filter.
TENON_INLINE std::int64_t bias_at(const Conv2dPlan& p) {
  return terms_of(p) * (p.by_channel || p.depthwise ? p.g.k : std::int64_t{p.g.groups} * p.panels * panel);
}

/// A window of `rows` x `vectors` in registers; with 16 registers there is room for 12.
constexpr int walk_rows = 3, walk_vectors = registers == 32 ? 6 : 4;

/// to(rows, vectors) += dz * x over the list; the last vector of a row has `last` floats where it is partial. x rows
/// are `x_row` floats apart, those of `to` `to_row`.
struct WalkArgs {
  Terms list;
  std::int64_t count;
  const float* x;
  std::int64_t x_row;
  float* to;
  std::int64_t to_row, last;
};
template <int rows, int vectors, bool partial>
void walk(const WalkArgs& a) {
  const auto load = [&](const float* p, int v) {
    return partial && v + 1 == vectors ? Simd::load_n(p + v * width, a.last) : Simd::load(p + v * width);
  };
  Vf acc[rows][vectors];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) acc[r][v] = load(a.to + r * a.to_row, v);
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float* x = a.x + a.list.at[i];
    const Vf dz = Simd::set(a.list.dz[i]);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::fma(dz, load(x + r * a.x_row, v), acc[r][v]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      float* p = a.to + r * a.to_row + v * width;
      if (partial && v + 1 == vectors)
        Simd::store_n(p, acc[r][v], a.last);
      else
        Simd::store(p, acc[r][v]);
    }
}
using Walk = void (*)(const WalkArgs&);
template <int rows, bool partial>
constexpr Walk walks_of[] = {walk<rows, 1, partial>,
                             walk<rows, 2, partial>,
                             walk<rows, 3, partial>,
                             walk<rows, 4, partial>,
                             walk<rows, walk_vectors == 6 ? 5 : 4, partial>,
                             walk<rows, walk_vectors == 6 ? 6 : 4, partial>};
TENON_INLINE Walk walk_of(std::int64_t rows, std::int64_t vectors, bool partial) {
  if (partial) return (rows == 1 ? walks_of<1, true> : rows == 2 ? walks_of<2, true> : walks_of<3, true>)[vectors - 1];
  return (rows == 1 ? walks_of<1, false> : rows == 2 ? walks_of<2, false> : walks_of<3, false>)[vectors - 1];
}

/// The live terms of every filter of an image: where the window of x begins, and dz.
struct FilterLists {
  const Conv2dPlan& p;
  PooledGradient dz;
  Terms terms;
  std::int32_t* count;
  std::int64_t each;  // from filter to filter

  TENON_MEMBER Terms of(std::int64_t k) const { return {terms.at + k * each, terms.dz + k * each}; }
  /// Of the first window of an output row.
  TENON_MEMBER std::int32_t row_start(std::int64_t y, int below) const {
    return static_cast<std::int32_t>((2 * y + below) * p.g.stride_h * p.padded_w * p.g.c);
  }
};

/// By squares of positions and filters, turned: a filter's positions are lanes then.
void squeeze_lists(const FilterLists& l, Range which) {
  const ConvGeometry& g = l.p.g;
  const std::int32_t next = g.stride_w * g.c;
  const Vi columns = multiples_of(2 * next);
  const Vf scale = Simd::set(l.dz.scale);
  const int together = g.pw <= width ? 2 : 1;  // rows: their terms may not mix
  for (std::int64_t y = 0; y < g.ph; ++y)
    for (std::int64_t k0 = which.begin; k0 < which.end; k0 += width)
      for (int first = 0; first < 2; first += together)
        for (std::int64_t x = 0; x < g.pw; x += width) {
          const std::int64_t filters = smaller(width, which.end - k0), at = (y * g.pw + x) * g.k + k0;
          Vf value[width], mask[width];
          for (int i = 0; i < width; ++i) {
            const bool there = x + i < g.pw;
            const std::int64_t from = at + i * g.k;
            value[i] = !there             ? Vf{}
                       : filters == width ? Simd::load(l.dz.gy + from)
                                          : Simd::load_n(l.dz.gy + from, filters);
            mask[i] = Simd::from_bits(there ? widen(load_bytes(l.dz.mask + from, filters)) : Vi{} + 0xFF);
          }
          turn_square(value);
          turn_square(mask);
          for (std::int64_t j = 0; j < filters; ++j) {
            // A window has one winner: bit 1 of the mask is its row, bit 0 its column.
            const Vi winner = Simd::bits(mask[j]),
                     place = columns + (winner & 1) * next + static_cast<std::int32_t>(2 * x) * next;
            const Vf dz = value[j] * scale;
            std::int32_t& count = l.count[k0 + j];
            for (int below = first; below < first + together; ++below) {
              const Terms list = l.of(k0 + j);
              count += static_cast<std::int32_t>(append_live(
                  {list.at + count, list.dz + count}, place + l.row_start(y, below), dz, (winner & 0xFE) == 2 * below));
            }
          }
        }
}

/// Term by term.
void fill_lists(const FilterLists& l, Range which) {
  const ConvGeometry& g = l.p.g;
  const std::int32_t next = g.stride_w * g.c;
  for (std::int64_t y = 0; y < g.ph; ++y)
    for (int below = 0; below < 2; ++below)
      for (std::int64_t x = 0; x < g.pw; ++x) {
        const std::int64_t at = (y * g.pw + x) * g.k;
        const auto start = l.row_start(y, below) + static_cast<std::int32_t>(2 * x) * next;
        for_each_equal(l.dz.mask + at + which.begin, which.size(), 2 * below, 0xFE, [&](std::int64_t i) {
          const std::int64_t k = which.begin + i;
          const Terms list = l.of(k);
          const std::int32_t end = l.count[k]++;
          list.at[end] = start + (l.dz.mask[at + k] & 1) * next;
          list.dz[end] = l.dz.gy[at + k] * l.dz.scale;
        });
      }
}

/// Adds one image to the partial sums [k][kh][kw c], then of the bias, by channel lists; filters `which`.
void add_by_channel(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, Range which,
                    float* scratch, float* partial) {
  const ConvGeometry& g = p.g;
  // A filter has one live term a window at most.
  const std::int64_t terms = terms_of(p), row = std::int64_t{g.kw} * g.c, line = std::int64_t{p.padded_w} * g.c,
                     each = std::int64_t{g.ph} * g.pw + list_slack;
  float* dz = scratch + each * g.k;
  const FilterLists lists{p,
                          pooled_gradient(g, call, n),
                          {reinterpret_cast<std::int32_t*>(scratch), dz},
                          reinterpret_cast<std::int32_t*>(dz + each * g.k),
                          each};
  for (std::int64_t k = which.begin; k < which.end; ++k) lists.count[k] = 0;
  (squeezes ? squeeze_lists : fill_lists)(lists, which);
  const std::int64_t vectors = blocks_of(row, width), last = row - (vectors - 1) * width;
  for (std::int64_t k = which.begin; k < which.end; ++k) {
    const Terms list = lists.of(k);
    const std::int64_t count = lists.count[k];
    for (std::int64_t r = 0; r < g.kh; r += walk_rows)
      for (std::int64_t v = 0; v < vectors; v += walk_vectors) {
        const std::int64_t height = smaller(walk_rows, g.kh - r), across = smaller(walk_vectors, vectors - v);
        const bool partial_vector = last < width && v + across == vectors;
        walk_of(height, across,
                partial_vector)({list, count, image + r * g.dilation_h * line + v * width, g.dilation_h * line,
                                 partial + k * terms + r * row + v * width, row, last});
      }
    if (!g.bias) continue;
    float sum = partial[bias_at(p) + k];
    for (std::int64_t i = 0; i < count; ++i) sum += list.dz[i];
    partial[bias_at(p) + k] = sum;
  }
}

/// A tile of `runs` x `taps` (kh,kw,c) times two vectors of k over the positions of one image. Taps of a run are
/// neighbours in memory, so that one pointer a run reaches them all.
struct TapArgs {
  const float* x;           // of the first tap at the first position
  std::int64_t run_step;    // floats between runs
  std::int64_t line, step;  // floats between positions in h and in w
  std::int64_t oh, ow;
  const float* dz;  // (oh ow, dz_step)
  std::int64_t dz_step;
  float* to;  // taps to_step apart, runs to_run
  std::int64_t to_step, to_run;
};
template <int runs, int taps>
void tap_tile(const TapArgs& a) {
  Vf acc[runs][taps][2];
  for (int r = 0; r < runs; ++r)
    for (int t = 0; t < taps; ++t)
      for (int v = 0; v < 2; ++v) acc[r][t][v] = Simd::load(a.to + r * a.to_run + t * a.to_step + v * width);
  const float* dz = a.dz;
  for (std::int64_t oy = 0; oy < a.oh; ++oy) {
    const float* x = a.x + oy * a.line;
    for (std::int64_t ox = 0; ox < a.ow; ++ox, x += a.step, dz += a.dz_step) {
      const Vf d0 = Simd::load(dz), d1 = Simd::load(dz + width);
#pragma GCC unroll 4
      for (int r = 0; r < runs; ++r)
#pragma GCC unroll 16
        for (int t = 0; t < taps; ++t) {
          const Vf v = Simd::set(x[r * a.run_step + t]);
          acc[r][t][0] = Simd::fma(v, d0, acc[r][t][0]);
          acc[r][t][1] = Simd::fma(v, d1, acc[r][t][1]);
        }
    }
  }
  for (int r = 0; r < runs; ++r)
    for (int t = 0; t < taps; ++t)
      for (int v = 0; v < 2; ++v) Simd::store(a.to + r * a.to_run + t * a.to_step + v * width, acc[r][t][v]);
}
using TapTile = void (*)(const TapArgs&);
/// More taps than fit into the registers are never asked for; their entries keep the table square.
template <int runs, int taps>
constexpr TapTile tap_tile_of = tap_tile<runs, (runs * taps > tile_height ? tile_height / runs : taps)>;
template <int runs>
constexpr TapTile tap_tiles[] = {
    tap_tile_of<runs, 1>,  tap_tile_of<runs, 2>,  tap_tile_of<runs, 3>,  tap_tile_of<runs, 4>, tap_tile_of<runs, 5>,
    tap_tile_of<runs, 6>,  tap_tile_of<runs, 7>,  tap_tile_of<runs, 8>,  tap_tile_of<runs, 9>, tap_tile_of<runs, 10>,
    tap_tile_of<runs, 11>, tap_tile_of<runs, 12>, tap_tile_of<runs, 13>, tap_tile_of<runs, 14>};

/// Adds one image to the partial sums [group][kh kw c][kg, padded to panels], then of the bias; panels `which` of all
/// groups'.
void add_by_tap(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, Range which, float* scratch,
                float* partial) {
  const ConvGeometry& g = p.g;
  const std::int64_t positions = std::int64_t{g.oh} * g.ow, whole = std::int64_t{p.panels} * panel,
                     stride = g.groups * whole;
  const std::int64_t terms = terms_of(p), line = std::int64_t{p.padded_w} * g.c;
  float* spread = scratch;  // dz (positions, stride), where panels are not whole
  const float* dz = dense_dz(p, call, n, scratch + (p.kg == whole ? 0 : positions * stride));
  if (g.bias && which.begin == 0) add_positions(dz, positions, g.k, partial + bias_at(p));
  if (p.kg != whole) {
    for (std::int64_t i = 0; i < positions; ++i)
      for (std::int64_t group = 0; group < g.groups; ++group) {
        float* to = spread + i * stride + group * whole;
        std::memcpy(to, dz + i * g.k + group * p.kg, static_cast<std::size_t>(p.kg) * sizeof(float));
        std::memset(to + p.kg, 0, static_cast<std::size_t>(whole - p.kg) * sizeof(float));
      }
    dz = spread;
  }
  // Short runs share a tile, so that there are chains enough to hide the latency of an FMA.
  const Runs runs = runs_of(p);
  const std::int64_t pieces = blocks_of(runs.length, tile_height),
                     most = smaller(3, tile_height / smaller(runs.length, tile_height));
  for (std::int64_t group = which.begin / p.panels; group * p.panels < which.end; ++group) {
    const Range panels{larger(which.begin - group * p.panels, 0), smaller(which.end - group * p.panels, p.panels)};
    for (std::int64_t o = 0; o < runs.outer; ++o)
      for (std::int64_t i = 0; i < runs.inner;) {
        // Runs that follow in w; those that follow in h, where a row is one run.
        const bool down = runs.inner == 1;
        const std::int64_t together = smaller(most, down ? runs.outer - o : runs.inner - i),
                           first = (o * runs.inner + i) * runs.length;
        for (std::int64_t piece = 0; piece < pieces; ++piece) {
          const Range taps = part(runs.length, piece, pieces);
          const TapTile tile = (together == 1   ? tap_tiles<1>
                                : together == 2 ? tap_tiles<2>
                                                : tap_tiles<3>)[taps.size() - 1];
          for (std::int64_t q = panels.begin; q < panels.end; ++q)
            tile({image + group * p.cg + o * runs.outer_step + i * runs.inner_step + taps.begin,
                  down ? runs.outer_step : runs.inner_step, g.stride_h * line, std::int64_t{g.stride_w} * g.c, g.oh,
                  g.ow, dz + group * whole + q * panel, stride,
                  partial + ((group * terms + first + taps.begin) * p.panels + q) * panel, whole, runs.length * whole});
        }
        i += down ? 1 : together;
        if (down) o += together - 1;
      }
  }
}

/// Adds one image where every channel has its own filter, to the partial sums [taps][c], then of the bias; channels
/// `which`.
void add_depthwise(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, Range which,
                   float* scratch, float* partial) {
  const ConvGeometry& g = p.g;
  const float* dz = dense_dz(p, call, n, scratch);
  const std::int64_t line = std::int64_t{p.padded_w} * g.c;
  constexpr std::int64_t together = 3;  // taps of a row that share a load of dz
  for_each_lanes(which.size(), [&](std::int64_t i, auto lanes) {
    const std::int64_t c = which.begin + i;
    const auto each_position = [&](const auto& body) {
      for (std::int64_t oy = 0; oy < g.oh; ++oy)
        for (std::int64_t ox = 0; ox < g.ow; ++ox)
          body(lanes.load(dz + (oy * g.ow + ox) * g.k + c), image + oy * g.stride_h * line + ox * g.stride_w * g.c + c);
    };
    for (std::int64_t kh = 0; kh < g.kh; ++kh)
      for (std::int64_t kw = 0; kw < g.kw; kw += together) {
        const std::int64_t count = smaller(together, g.kw - kw),
                           tap = kh * g.dilation_h * line + kw * g.dilation_w * g.c;
        float* to = partial + (kh * g.kw + kw) * g.c + c;
        Vf acc[together];
        for (std::int64_t t = 0; t < count; ++t) acc[t] = lanes.load(to + t * g.c);
        if (count == together)
          each_position([&](Vf d, const float* x) {
            for (std::int64_t t = 0; t < together; ++t)
              acc[t] = Simd::fma(lanes.load(x + tap + t * g.dilation_w * g.c), d, acc[t]);
          });
        else
          for (std::int64_t t = 0; t < count; ++t)
            each_position([&](Vf d, const float* x) {
              acc[t] = Simd::fma(lanes.load(x + tap + t * g.dilation_w * g.c), d, acc[t]);
            });
        for (std::int64_t t = 0; t < count; ++t) lanes.store(to + t * g.c, acc[t]);
      }
    if (!g.bias) return;
    float* gbias = partial + bias_at(p) + c;
    Vf sum = lanes.load(gbias);
    each_position([&](Vf d, const float*) { sum += d; });
    lanes.store(gbias, sum);
  });
}

/// Element i of a partial sum as the filter gradient orders it.
TENON_INLINE std::int64_t partial_index(const Conv2dPlan& p, std::int64_t term, std::int64_t k) {
  const std::int64_t terms = terms_of(p);
  if (p.by_channel) return k * terms + term;
  if (p.depthwise) return term * p.g.k + k;
  return ((k / p.kg) * terms + term) * p.panels * panel + k % p.kg;
}

}  // namespace

void conv2d_grad_filter(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const float* x = input<float>(call, 1);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), terms = terms_of(p);
  float* partials = work + p.partial_at;
  float* gfilter = output<float>(call, 0);
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    float* rest = scratch + padded_floats(p);
#pragma omp for schedule(static)
    for (std::int64_t s = 0; s < groups; ++s)
      std::memset(partials + s * p.partial_each, 0, static_cast<std::size_t>(p.partial_each) * sizeof(float));
    // A sample group is one chain; where groups are few, its filters are shared out as well.
    const std::int64_t splittable = p.by_channel || p.depthwise ? g.k : std::int64_t{g.groups} * p.panels;
    const std::int64_t team = omp_get_num_threads(),
                       parts = team == 1 || groups >= 4 * team ? 1 : smaller(splittable, blocks_of(4 * team, groups));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < groups * parts; ++i) {
      const std::int64_t s = i / parts;
      float* partial = partials + s * p.partial_each;
      const Range which = part(splittable, i % parts, parts);
      for (std::int64_t n = s * order::sample_group; n < smaller(g.n, (s + 1) * order::sample_group); ++n) {
        const float* image = padded_image(p, x, n, scratch);
        if (p.depthwise)
          add_depthwise(p, call, image, n, which, rest, partial);
        else if (p.by_channel)
          add_by_channel(p, call, image, n, which, rest, partial);
        else
          add_by_tap(p, call, image, n, which, rest, partial);
      }
    }
    join_partials(partials, p.partial_each, groups);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < terms; ++t)
      for (std::int64_t k = 0; k < g.k; ++k) gfilter[t * g.k + k] = partials[partial_index(p, t, k)];
  }
  if (g.bias) std::memcpy(output<float>(call, 1), partials + bias_at(p), static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
