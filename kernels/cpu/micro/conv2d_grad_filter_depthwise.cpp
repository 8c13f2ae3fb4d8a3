// conv2d_grad_filter_depthwise: gfilter(kh,kw,c) = sum over (n,oy,ox) of dz(n,oy,ox,c) x(n,iy,ix,c), and gbias(c) = sum of
// dz, where every channel has a filter of its own. dz undoes the epilogue.
// Layout: an output row at a time: up to four vectors of channels times three taps of a row of the window in registers,
// over the row's positions; sums [tap][channel] wait in L1 between rows. Nothing is packed, taps in the padding are left
// out.
// Parallel over groups of order::sample_group images; where those are few, over channels, too.
// Order: one FMA chain per sample group over (n, oy, ox) ascending; pair tree.
// Error: (terms of a group + log2 of the groups) * 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_columns.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Taps of a row that share a load of dz, and vectors of channels at once: as many chains as hide the latency of an FMA.
constexpr int taps_together = 3, vectors_together = registers == 32 ? 4 : 2;

/// One output row times `taps` neighbouring taps: sums (taps, channels) go on.
struct RowArgs {
  const float* x;     // row of the image that the taps see
  const float* dz;    // (ow, c)
  float* sums;        // of the first tap
  std::int64_t kw;    // first tap
  std::int64_t last;  // floats of the last vector, where it is partial
};

template <int taps, int vectors, bool partial>
TENON_INLINE void add_row(const Conv2dPlan& p, const RowArgs& a) {
  const ConvGeometry& g = p.g;
  const auto load = [&](const float* from, int v) __attribute__((always_inline)) {
    return partial && v + 1 == vectors ? Simd::load_n(from + v * width, a.last) : Simd::load(from + v * width);
  };
  Vf acc[taps][vectors];
#pragma GCC unroll 4
  for (int t = 0; t < taps; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[t][v] = load(a.sums + t * g.c, v);
  const std::int64_t next = std::int64_t{g.dilation_w} * g.c;
  // The edges, tap by tap.
  const auto at_the_edge = [&](std::int64_t begin, std::int64_t end) __attribute__((always_inline)) {
    for (std::int64_t ox = begin; ox < end; ++ox)
#pragma GCC unroll 4
      for (int t = 0; t < taps; ++t) {
        const std::int64_t ix = ox * g.stride_w + (a.kw + t) * g.dilation_w - g.pad_left;
        if (ix < 0 || ix >= g.w) continue;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
          acc[t][v] = Simd::fma(load(a.x + ix * g.c, v), load(a.dz + ox * g.c, v), acc[t][v]);
      }
  };
  const Range inside = columns_inside(g, a.kw, a.kw + taps - 1);
  at_the_edge(0, inside.begin);
  const float* x = a.x + (inside.begin * g.stride_w + a.kw * g.dilation_w - g.pad_left) * g.c;
  const float* dz = a.dz + inside.begin * g.c;
  for (std::int64_t ox = inside.begin; ox < inside.end; ++ox, x += g.stride_w * g.c, dz += g.c)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const Vf d = load(dz, v);
#pragma GCC unroll 4
      for (int t = 0; t < taps; ++t) acc[t][v] = Simd::fma(load(x + t * next, v), d, acc[t][v]);
    }
  at_the_edge(inside.end, g.ow);
#pragma GCC unroll 4
  for (int t = 0; t < taps; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* to = a.sums + t * g.c + v * width;
      if (partial && v + 1 == vectors)
        Simd::store_n(to, acc[t][v], a.last);
      else
        Simd::store(to, acc[t][v]);
    }
}

/// All taps of one row of the window for `vectors` vectors of channels.
template <int vectors, bool partial>
void add_taps(const Conv2dPlan& p, RowArgs a) {
  for (a.kw = 0; a.kw + taps_together <= p.g.kw; a.kw += taps_together, a.sums += taps_together * p.g.c)
    add_row<taps_together, vectors, partial>(p, a);
  for (; a.kw < p.g.kw; ++a.kw, a.sums += p.g.c) add_row<1, vectors, partial>(p, a);
}

/// Channels `which` of one image.
void add_image(const Conv2dPlan& p, const float* x, const float* dz, Range which, float* partial) {
  const ConvGeometry& g = p.g;
  for (std::int64_t oy = 0; oy < g.oh; ++oy) {
    const float* row = dz + oy * g.ow * g.c;
    for (std::int64_t c = which.begin; c < which.end;) {
      const std::int64_t left = which.end - c;
      const std::int64_t vectors = left >= vectors_together * width ? vectors_together : 1;
      for (std::int64_t kh = 0; kh < g.kh; ++kh) {
        const std::int64_t iy = oy * g.stride_h + kh * g.dilation_h - g.pad_top;
        if (iy < 0 || iy >= g.h) continue;
        const RowArgs args{x + iy * g.w * g.c + c, row + c, partial + kh * g.kw * g.c + c, 0, left};
        (vectors > 1    ? add_taps<vectors_together, false>
         : left < width ? add_taps<1, true>
                        : add_taps<1, false>)(p, args);
      }
      c += vectors * width;
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
#pragma omp for schedule(static)
    for (std::int64_t s = 0; s < groups; ++s)
      std::memset(partials + s * p.partial_each, 0, static_cast<std::size_t>(p.partial_each) * sizeof(float));
    const std::int64_t team = omp_get_num_threads(),
                       parts = team == 1 || groups >= 4 * team ? 1 : smaller(vectors, blocks_of(4 * team, groups));
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
