// conv2d_grad_input behind a pool: gx(n,iy,ix,c) = sum over (oy,ox,k) of dz(n,oy,ox,k) filter(kh,kw,c,k), live terms
// only. At most a quarter of dz is alive, and they are found by mask: dead terms are never touched. Without a pool:
// conv2d_grad_input_dense.cpp.
// Layout: the filter is turned to [kh][k][kw][c], so that a live term adds whole vectors of neighbouring (kw, c) to the
// image's gradient, which lies (padded) in L2. The live terms of an image are listed once; then, kh by kh, those at one
// position share the loads and stores of what they add to, while one kh of the filter stays in L1.
// Parallel over images.
// Order: one FMA chain per gx over (oy, ox, k) ascending, no chunks (a row of gx meets larger kh at smaller oy). Error:
// terms * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_live.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Vectors of a row that stay in registers while the terms of a position pass.
constexpr int run_vectors = width == 16 ? 6 : 12;

/// filter (kh,kw,cg,k) -> [kh][k][kw][cg] for k in [begin, end).
void turn_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t begin, std::int64_t end) {
  const std::int64_t row = std::int64_t{p.g.kw} * p.cg;
  for (std::int64_t kh = 0; kh < p.g.kh; ++kh)
    for (std::int64_t k = begin; k < end; ++k)
      for (std::int64_t t = 0; t < row; ++t) to[(kh * p.g.k + k) * row + t] = filter[(kh * row + t) * p.g.k + k];
}

/// All live terms of an image, in order; those at position i are [start[i], start[i + 1]).
struct Positions {
  Terms terms;
  std::int32_t* start;
};

/// By vectors of filters: position by position, the lanes that won there.
void squeeze_terms(const Conv2dPlan& p, const PooledGradient& dz, const Positions& t) {
  const ConvGeometry& g = p.g;
  const auto row = static_cast<std::int32_t>(g.kw * p.cg);
  const Vi places = multiples_of(row);
  const Vf scale = Simd::set(dz.scale);
  std::int64_t count = 0;
  std::int32_t* start = t.start;
  for (std::int64_t y = 0; y < g.ph; ++y)
    for (int below = 0; below < 2; ++below)
      for (std::int64_t x = 0; x < g.pw; ++x) {
        const std::int64_t at = (y * g.pw + x) * g.k;
        for (int right = 0; right < 2; ++right) {
          *start++ = static_cast<std::int32_t>(count);
          for_each_lanes(g.k, [&](std::int64_t k, auto lanes) {
            // What lies behind the last byte is 0 and would win.
            Vi mask = widen(load_bytes(dz.mask + at + k, g.k - k));
            if (g.k - k < width) mask = places < static_cast<std::int32_t>(g.k - k) * row ? mask : Vi{} + 0xFF;
            count += append_live({t.terms.at + count, t.terms.dz + count}, places + static_cast<std::int32_t>(k) * row,
                                 lanes.load(dz.gy + at + k) * scale, mask == 2 * below + right);
          });
        }
      }
  *start = static_cast<std::int32_t>(count);
}

/// Term by term. Two neighbouring pooled bytes stand for two rows of positions: their terms are counted before they are
/// written, so that each goes to its place at once.
void list_terms(const Conv2dPlan& p, const PooledGradient& dz, const Positions& t) {
  const ConvGeometry& g = p.g;
  const std::int64_t columns = 2 * std::int64_t{g.pw};
  const auto row = static_cast<std::int32_t>(g.kw * p.cg);
  std::int32_t count = 0;
  for (std::int64_t y = 0; y < g.ph; ++y) {
    std::int32_t* start = t.start + 2 * y * columns;
    for (int below = 0; below < 2; ++below)
      for (std::int64_t x = 0; x < g.pw; ++x) {
        const std::uint8_t* mask = dz.mask + (y * g.pw + x) * g.k;
        for (int right = 0; right < 2; ++right) {
          start[below * columns + 2 * x + right] = count;
          count += static_cast<std::int32_t>(count_equal(mask, g.k, 2 * below + right));
        }
      }
    for (std::int64_t x = 0; x < g.pw; ++x) {
      const std::int64_t at = (y * g.pw + x) * g.k;
      std::int32_t next[4] = {start[2 * x], start[2 * x + 1], start[columns + 2 * x], start[columns + 2 * x + 1]};
      for_each_equal(dz.mask + at, g.k, 0, 0xFC, [&](std::int64_t k) {
        const std::int32_t i = next[dz.mask[at + k]]++;
        t.terms.at[i] = static_cast<std::int32_t>(k) * row;
        t.terms.dz[i] = dz.gy[at + k] * dz.scale;
      });
    }
  }
  t.start[2 * g.ph * columns] = count;
}

/// to[0, vectors * width) += sum of dz * w over `count` terms, one at least; the last vector may be partial.
template <int vectors, class Lanes>
TENON_INLINE void add_run(const Terms& terms, std::int64_t count, const float* w, float* to, Lanes last) {
  Vf acc[vectors];
#pragma GCC unroll 12
  for (int v = 0; v < vectors; ++v) acc[v] = v + 1 < vectors ? Simd::load(to + v * width) : last.load(to + v * width);
  std::int64_t i = 0;
  do {
    const float* from = w + terms.at[i];
    const Vf dz = Simd::set(terms.dz[i]);
#pragma GCC unroll 12
    for (int v = 0; v < vectors; ++v)
      acc[v] = Simd::fma(dz, v + 1 < vectors ? Simd::load(from + v * width) : last.load(from + v * width), acc[v]);
  } while (++i != count);
#pragma GCC unroll 12
  for (int v = 0; v < vectors; ++v) {
    if (v + 1 < vectors)
      Simd::store(to + v * width, acc[v]);
    else
      last.store(to + v * width, acc[v]);
  }
}

/// The same for any length.
TENON_INLINE void add_terms(const Terms& terms, std::int64_t count, const float* w, float* to, std::int64_t length) {
  std::int64_t i = 0;
  for (; i + run_vectors * width <= length; i += run_vectors * width)
    add_run<run_vectors>(terms, count, w + i, to + i, Whole{});
  for (; i + 2 * width <= length; i += 2 * width) add_run<2>(terms, count, w + i, to + i, Whole{});
  for (; i + width <= length; i += width) add_run<1>(terms, count, w + i, to + i, Whole{});
  if (i < length) add_run<1>(terms, count, w + i, to + i, Part{length - i});
}

/// The terms of one position, one kh: to the row of taps from `to`.
TENON_INLINE void add_position(const Conv2dPlan& p, Terms terms, std::int64_t count, const float* w, float* to) {
  const ConvGeometry& g = p.g;
  // Neighbouring taps of a row are neighbours in memory where nothing is dilated and there is one group.
  if (g.dilation_w == 1 && g.groups == 1) return add_terms(terms, count, w, to, std::int64_t{g.kw} * g.c);
  const std::int64_t row = std::int64_t{g.kw} * p.cg;
  for (std::int64_t group = 0; group < g.groups; ++group) {  // k ascends: the terms of a group are neighbours
    std::int64_t own = 0;
    while (own < count && terms.at[own] < (group + 1) * p.kg * row) ++own;
    for (std::int64_t kw = 0; kw < g.kw && own > 0; ++kw)
      add_terms(terms, own, w + kw * p.cg, to + kw * g.dilation_w * g.c + group * p.cg, p.cg);
    terms = {terms.at + own, terms.dz + own};
    count -= own;
  }
}

void one_image(const Conv2dPlan& p, const Call& call, const float* turned, std::int64_t n, float* scratch) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c, image = std::int64_t{g.h} * g.w * g.c;
  float* gx = output<float>(call, 0) + n * image;
  float* sums = p.padded ? scratch : gx;
  const std::int64_t most = std::int64_t{g.ph} * g.pw * g.k + list_slack;
  float* lists = scratch + padded_floats(p);
  const Positions live{{reinterpret_cast<std::int32_t*>(lists), lists + most},
                       reinterpret_cast<std::int32_t*>(lists + 2 * most)};
  (squeezes ? squeeze_terms : list_terms)(p, pooled_gradient(g, call, n), live);
  std::memset(sums, 0, static_cast<std::size_t>(p.padded_h * line) * sizeof(float));
  for (std::int64_t kh = g.kh - 1; kh >= 0; --kh) {
    const float* w = turned + kh * g.k * g.kw * p.cg;
    const std::int32_t* start = live.start;
    for (std::int64_t oy = 0; oy < 2 * g.ph; ++oy) {
      float* row = sums + (oy * g.stride_h + kh * g.dilation_h) * line;
      for (std::int64_t ox = 0; ox < 2 * g.pw; ++ox, ++start, row += g.stride_w * g.c)
        if (start[0] != start[1])
          add_position(p, {live.terms.at + start[0], live.terms.dz + start[0]}, start[1] - start[0], w, row);
    }
  }
  if (!p.padded) return;
  const std::int64_t rows = smaller(g.h, p.padded_h - g.pad_top), columns = smaller(g.w, p.padded_w - g.pad_left);
  std::memset(gx, 0, static_cast<std::size_t>(image) * sizeof(float));
  for (std::int64_t y = 0; y < rows; ++y)
    std::memcpy(gx + y * g.w * g.c, sums + (y + g.pad_top) * line + g.pad_left * g.c,
                static_cast<std::size_t>(columns * g.c) * sizeof(float));
}

}  // namespace

void conv2d_grad_input(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  auto* work = static_cast<float*>(call.workspace);
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    turn_filter(p, input<float>(call, 1), work + p.filter_at, p.g.k * thread / team, p.g.k * (thread + 1) / team);
#pragma omp barrier
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t n = 0; n < p.g.n; ++n) one_image(p, call, work + p.filter_at, n, scratch);
  }
}

}  // namespace tenon::cpu::TENON_ISA
