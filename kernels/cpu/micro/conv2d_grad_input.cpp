// conv2d_grad_input behind a pool: gx(n,iy,ix,c) = sum over (oy,ox,k) of dz(n,oy,ox,k) filter(kh,kw,c,k), live terms
// only. At most a quarter of dz is alive, and they are found by mask: dead terms are never touched. Without a pool:
// conv2d_grad_input_dense.cpp.
// Layout: the live terms of an image are listed once, position by position; a term adds to the taps of its position.
//   slide   3x3 (5x5 with 32 registers), stride 1: a vector of channels at a time, the filter as [channels][k][kh][kw][width].
//           What the taps add to stays in registers and moves along with the position, and a block of the filter
//           stays in L1.
//   runs    the rest: the filter as [kh][k][kw][c], kh by kh, so that a term adds vectors of neighbouring (kw, c) to the
//           image's gradient, which lies (padded) in L2.
// Parallel over images.
// Order: one FMA chain per gx over (oy, ox, k) ascending, no chunks (a row of gx meets larger kh at smaller oy). Error:
// terms * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_live.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Vectors of a row that stay in registers while the terms of a position pass.
constexpr int run_vectors = width == 16 ? 6 : 12;

/// What slides.
TENON_INLINE bool slides(const Conv2dPlan& p) {
  const ConvGeometry& g = p.g;
  return g.kh == g.kw && (g.kh == 3 || (g.kh == 5 && registers == 32)) && g.stride_h == 1 && g.stride_w == 1 &&
         g.dilation_h == 1 && g.dilation_w == 1 && g.groups == 1 && g.c % width == 0;
}
/// Floats from filter to filter.
TENON_INLINE std::int32_t filter_step(const Conv2dPlan& p) {
  return p.g.kw * (slides(p) ? p.g.kh * std::int32_t{width} : p.cg);
}

/// filter (kh,kw,cg,k) -> as slides or runs read it, for k in [begin, end).
void turn_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t begin, std::int64_t end) {
  const std::int64_t taps = std::int64_t{p.g.kh} * p.g.kw, row = std::int64_t{p.g.kw} * p.cg;
  if (slides(p)) {
    for (std::int64_t c = 0; c < p.g.c; c += width, to += p.g.k * taps * width)
      for (std::int64_t t = 0; t < taps; ++t) {
        const float* from = filter + (t * p.g.c + c) * p.g.k;
        std::int64_t k = begin;
        for (; k + width <= end; k += width)
          transpose_square(from + k, p.g.k, width, to + (k * taps + t) * width, taps * width);
        for (; k < end; ++k)
          for (std::int64_t i = 0; i < width; ++i) to[(k * taps + t) * width + i] = from[i * p.g.k + k];
      }
    return;
  }
  for (std::int64_t kh = 0; kh < p.g.kh; ++kh)
    for (std::int64_t k = begin; k < end; ++k)
      for (std::int64_t t = 0; t < row; ++t) to[(kh * p.g.k + k) * row + t] = filter[(kh * row + t) * p.g.k + k];
}

/// All live terms of an image, in order; those at position i are [start[i], start[i + 1]).
struct Positions {
  Terms terms;
  std::int32_t* start;
};

void list_terms(const Conv2dPlan& p, PooledGradient dz, LiveRow row, Positions t) {
  const std::int64_t rows = p.g.ph, columns = p.g.pw, filters = p.g.k;
  const std::int32_t step = filter_step(p);
  std::int64_t count = 0;
  std::int32_t* start = t.start;
  for (std::int64_t y = 0; y < rows; ++y) {
    list_row(dz, y, columns, filters, step, row);
    for (std::int32_t below = 0; below < 2; ++below)
      for (std::int64_t x = 0; x < columns; ++x)
        for (std::int32_t right = 0; right < 2; ++right) {
          *start++ = static_cast<std::int32_t>(count);
          pick_terms(row, x, 2 * below + right, [&](Vi code, Vf value, LaneSet set) {
            append(t.terms.at + count, code >> 2, set);
            append(t.terms.dz + count, value, set);
            count += __builtin_popcount(set);
          });
        }
  }
  *start = static_cast<std::int32_t>(count);
}

/// Clears what slide() does not start itself: rows above the lowest of the first window, and what no window reaches.
void clear_around(const Conv2dPlan& p, float* sums) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c, above = g.kh - 1, rows = 2 * std::int64_t{g.ph} + above,
                     reach = (2 * std::int64_t{g.pw} + g.kw - 1) * g.c;
  clear_floats(sums, above * line);
  for (std::int64_t y = above; y < rows; ++y) clear_floats(sums + y * line + reach, line - reach);
  clear_floats(sums + rows * line, (p.padded_h - rows) * line);
}

/// One vector of channels: `filter` and `sums` are its own. What falls out of the window to the left is done with; the
/// lowest row of the window is met for the first time. The branches are as random as the mask, and where they lie in a
/// cache line decides a tenth of the time: hence the alignment.
template <int kh, int kw>
__attribute__((aligned(64))) void slide(const Conv2dPlan& p, Positions live, const float* filter, float* sums) {
  const std::int64_t next = p.g.c, line = std::int64_t{p.padded_w} * next, columns = 2 * std::int64_t{p.g.pw},
                     rows = 2 * std::int64_t{p.g.ph};
  std::int64_t i = 0;
  for (std::int64_t oy = 0; oy < rows; ++oy, sums += line, live.start += columns) {
    float* at = sums;
    if (i == live.start[columns]) {
      for (std::int64_t x = 0; x < columns + kw - 1; ++x) Simd::store(at + (kh - 1) * line + x * next, Vf{});
      continue;
    }
    Vf acc[kh][kw] = {};
#pragma GCC unroll 8
    for (int y = 0; y + 1 < kh; ++y)
#pragma GCC unroll 8
      for (int x = 1; x < kw; ++x) acc[y][x] = Simd::load(at + y * line + (x - 1) * next);
    for (std::int64_t ox = 1; ox <= columns; ++ox, at += next) {
#pragma GCC unroll 8
      for (int y = 0; y < kh; ++y) {
#pragma GCC unroll 8
        for (int x = 1; x < kw; ++x) acc[y][x - 1] = acc[y][x];
        acc[y][kw - 1] = y + 1 < kh ? Simd::load(at + y * line + (kw - 1) * next) : Vf{};
      }
      for (const std::int64_t end = live.start[ox]; i < end; ++i) {
        const float* w = filter + live.terms.at[i];
        const Vf dz = Simd::set(live.terms.dz[i]);
#pragma GCC unroll 8
        for (int y = 0; y < kh; ++y)
#pragma GCC unroll 8
          for (int x = 0; x < kw; ++x) acc[y][x] = Simd::fma(dz, Simd::load(w + (y * kw + x) * width), acc[y][x]);
      }
#pragma GCC unroll 8
      for (int y = 0; y < kh; ++y) Simd::store(at + y * line, acc[y][0]);
    }
#pragma GCC unroll 8
    for (int y = 0; y < kh; ++y)
#pragma GCC unroll 8
      for (int x = 1; x < kw; ++x) Simd::store(at + y * line + (x - 1) * next, acc[y][x]);
  }
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

/// Live terms kh by kh.
void add_runs(const Conv2dPlan& p, const Positions& live, const float* turned, float* sums) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c;
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
  list_terms(p, pooled_gradient(g, call, n), live_row(g, lists + 2 * most + 4 * std::int64_t{g.ph} * g.pw + 1), live);
  if (slides(p)) {
    clear_around(p, sums);
    const std::int64_t block = terms_of(p) / g.c * width * g.k;
    for (std::int64_t c = 0; c < g.c; c += width)
      (g.kh == 3 ? slide<3, 3> : slide<5, 5>)(p, live, turned + c / width * block, sums + c);
  } else {
    clear_floats(sums, p.padded_h * line);
    add_runs(p, live, turned, sums);
  }
  if (!p.padded) return;
  const std::int64_t rows = smaller(g.h, p.padded_h - g.pad_top), columns = smaller(g.w, p.padded_w - g.pad_left);
  clear_floats(gx, image);
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
