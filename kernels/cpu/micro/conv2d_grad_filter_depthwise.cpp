// conv2d_grad_filter_depthwise: gfilter(kh,kw,c) = sum over (n,oy,ox) of dz(n,oy,ox,c) x(n,iy,ix,c), and gbias(c) = sum of
// dz, where every channel has a filter of its own. dz undoes the epilogue.
// Layout: an output row at a time: a vector of channels times up to 3 x 3 taps in registers, over the row's positions; sums
// [tap][channel] wait in L1 between rows. Nothing is packed, taps in the padding are left out.
// Parallel over groups of order::sample_group images; where those are few, over channels, too.
// Order: one FMA chain per sample group over (n, oy, ox) ascending; pair tree.
// Error: (terms of a group + log2 of the groups) * 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Rows and columns of a window that share a load of dz: chains enough to hide the latency of an FMA.
constexpr int rows_together = 3, columns_together = 3;

/// A vector of channels of one output row, or `last` of them; taps from (kh, kw) on.
struct RowArgs {
  const float* x;   // row of the image that kh sees
  const float* dz;  // (ow, c)
  float* sums;      // of tap (kh, kw); (taps, c)
  std::int64_t kw, last;
  // What the next row is the first to read, asked for into L2: `fresh` vectors of x and one of dz a position, where that is
  // not 0. Vectors of a row lie a pixel apart, which no hardware guesses.
  const float *x_ahead, *dz_ahead;
  std::int64_t fresh;
};

/// `rows` x `columns` taps, whose rows are all there: their sums go on.
template <int rows, int columns, bool partial>
void add_taps(const Conv2dPlan& p, const RowArgs& a) {
  const ConvGeometry& g = p.g;
  const auto load = [&](const float* from) __attribute__((always_inline)) {
    return partial ? Simd::load_n(from, a.last) : Simd::load(from);
  };
  const std::int64_t channels = g.c, line = std::int64_t{g.dilation_h} * g.w * channels,
                     next = std::int64_t{g.dilation_w} * channels;
  Vf acc[rows][columns];
#pragma GCC unroll 3
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int t = 0; t < columns; ++t) acc[r][t] = load(a.sums + (r * g.kw + t) * channels);
  // At the edges some columns are missing.
  const auto at_the_edge = [&](std::int64_t begin, std::int64_t end) __attribute__((always_inline)) {
    for (std::int64_t ox = begin; ox < end; ++ox)
#pragma GCC unroll 3
      for (int t = 0; t < columns; ++t) {
        const std::int64_t ix = ox * g.stride_w + (a.kw + t) * g.dilation_w - g.pad_left;
        if (ix < 0 || ix >= g.w) continue;
#pragma GCC unroll 3
        for (int r = 0; r < rows; ++r)
          acc[r][t] = Simd::fma(load(a.x + r * line + ix * channels), load(a.dz + ox * channels), acc[r][t]);
      }
  };
  const Range inside = columns_inside(g, a.kw, a.kw + columns - 1);
  at_the_edge(0, inside.begin);
  const float* x[rows];
#pragma GCC unroll 3
  for (int r = 0; r < rows; ++r)
    x[r] = a.x + r * line + (inside.begin * g.stride_w + a.kw * g.dilation_w - g.pad_left) * channels;
  const float* dz = a.dz + inside.begin * channels;
  const bool ask = a.kw == 0 && a.fresh > 0;
  const float *x_ahead = a.x_ahead, *dz_ahead = a.dz_ahead;
  for (std::int64_t ox = inside.begin; ox < inside.end; ++ox, dz += channels) {
    if (ask) {
      for (std::int64_t i = 0; i < a.fresh; ++i, x_ahead += width) __builtin_prefetch(x_ahead, 0, 2);
      __builtin_prefetch(dz_ahead, 0, 2);
      dz_ahead += width;
    }
    const Vf d = load(dz);
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 3
      for (int t = 0; t < columns; ++t) acc[r][t] = Simd::fma(load(x[r] + t * next), d, acc[r][t]);
      x[r] += g.stride_w * channels;
    }
  }
  at_the_edge(inside.end, g.ow);
#pragma GCC unroll 3
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int t = 0; t < columns; ++t) {
      float* to = a.sums + (r * g.kw + t) * channels;
      if (partial)
        Simd::store_n(to, acc[r][t], a.last);
      else
        Simd::store(to, acc[r][t]);
    }
}

/// All columns of `rows` rows of the window.
template <int rows, bool partial>
void add_rows(const Conv2dPlan& p, RowArgs a) {
  for (a.kw = 0; a.kw < p.g.kw;) {
    const std::int64_t columns = smaller(columns_together, p.g.kw - a.kw);
    (columns == 3   ? add_taps<rows, 3, partial>
     : columns == 2 ? add_taps<rows, 2, partial>
                    : add_taps<rows, 1, partial>)(p, a);
    a.kw += columns;
    a.sums += columns * p.g.c;
  }
}

/// Channels `which` of one image.
void add_image(const Conv2dPlan& p, const float* x, const float* dz, Range which, float* partial) {
  const ConvGeometry& g = p.g;
  // Channels of another thread are none of ours to ask for.
  const std::int64_t fresh = which.size() == g.c ? std::int64_t{g.stride_h} * g.stride_w : 0;
  for (std::int64_t oy = 0; oy < g.oh; ++oy) {
    const float* row = dz + oy * g.ow * g.c;
    // Rows of the window that lie in the image.
    const std::int64_t top = oy * g.stride_h - g.pad_top;
    const Range there = taps_there(top, g.kh, g.dilation_h, g.h);
    for (std::int64_t c = which.begin; c < which.end; c += width)
      for (std::int64_t kh = there.begin; kh < there.end;) {
        const std::int64_t rows = smaller(rows_together, there.end - kh), left = which.end - c;
        const RowArgs args{x + (top + kh * g.dilation_h) * g.w * g.c + c,
                           row + c,
                           partial + kh * g.kw * g.c + c,
                           0,
                           left,
                           x + (top + there.end * g.dilation_h) * g.w * g.c + c * g.ow * fresh,
                           row + (g.c + c) * g.ow,
                           kh == there.begin ? fresh : 0};
        const bool whole = left >= width;
        (rows == 3   ? (whole ? add_rows<3, false> : add_rows<3, true>)
         : rows == 2 ? (whole ? add_rows<2, false> : add_rows<2, true>)
                     : (whole ? add_rows<1, false> : add_rows<1, true>))(p, args);
        kh += rows;
      }
    if (g.bias) {
      float* sums = partial + std::int64_t{g.kh} * g.kw * g.c;
      for_each_lanes(which.size(), [&](std::int64_t i, auto lanes) {
        const std::int64_t c = which.begin + i;
        Vf sum = lanes.load(sums + c);
        for (std::int64_t ox = 0; ox < g.ow; ++ox) sum += lanes.load(row + ox * g.c + c);
        lanes.store(sums + c, sum);
      });
    }
  }
}

}  // namespace

void conv2d_grad_filter_depthwise(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), size = std::int64_t{g.kh} * g.kw * g.c,
                     vectors = blocks_of(g.c, width);
  float* partials = work + p.partial_at;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    clear_partials(partials, p.partial_each, groups);
    const std::int64_t team = omp_get_num_threads();
    const std::int64_t parts = shared_evenly(groups, team) ? 1 : smaller(vectors, blocks_of(4 * team, groups));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < groups * parts; ++i) {
      const std::int64_t s = i / parts;
      Range which = part(vectors, i % parts, parts);
      which = {which.begin * width, smaller(which.end * width, g.c)};
      for (std::int64_t n = s * order::sample_group; n < smaller(g.n, (s + 1) * order::sample_group); ++n)
        add_image(p, input<float>(call, 1) + n * g.h * g.w * g.c, dense_dz(p, call, n, scratch), which,
                  partials + s * p.partial_each);
    }
    join_partials(partials, p.partial_each, groups);
  }
  std::memcpy(output<float>(call, 0), partials, static_cast<std::size_t>(size) * sizeof(float));
  if (g.bias) std::memcpy(output<float>(call, 1), partials + size, static_cast<std::size_t>(g.c) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
