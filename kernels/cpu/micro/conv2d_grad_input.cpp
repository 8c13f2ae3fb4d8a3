// conv2d_grad_input behind a pool: gx(n,iy,ix,c) = sum over (oy,ox,k) of dz(n,oy,ox,k) filter(kh,kw,c,k), live terms
// only. At most a quarter of dz is alive, and they are found by mask: dead terms are never touched. Without a pool:
// conv2d_grad_input_dense.cpp.
// Layout: the filter is turned to [k][kh][kw][c], so that a live term adds whole vectors of neighbouring (kw, c) to the
// image's gradient, which lies (padded) in L2. Terms at one position share the loads and stores: up to 6 vectors stay
// in registers while all its live k pass.
// Parallel over images.
// Order: one FMA chain per gx over (oy, ox, k) ascending, no chunks. Error: terms * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int run_vectors = 6;

/// filter (kh,kw,cg,k) -> [k][taps][cg] for k in [begin, end).
void turn_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t begin, std::int64_t end) {
  const std::int64_t terms = terms_of(p);
  for (std::int64_t k = begin; k < end; ++k)
    for (std::int64_t t = 0; t < terms; ++t) to[k * terms + t] = filter[t * p.g.k + k];
}

/// One live term at some output position.
struct Live {
  std::int32_t k;
  float dz;
};

/// to[0, vectors * width) += sum of dz * w, term by term; the last vector may be partial.
template <int vectors, class Lanes>
TENON_INLINE void add_run(const Live* live, std::int64_t count, const float* w, std::int64_t stride, float* to,
                          Lanes last) {
  Vf acc[vectors];
#pragma GCC unroll 6
  for (int v = 0; v < vectors; ++v) acc[v] = v + 1 < vectors ? Simd::load(to + v * width) : last.load(to + v * width);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* from = w + live[i].k * stride;
    const Vf dz = Simd::set(live[i].dz);
#pragma GCC unroll 6
    for (int v = 0; v < vectors; ++v)
      acc[v] = Simd::fma(dz, v + 1 < vectors ? Simd::load(from + v * width) : last.load(from + v * width), acc[v]);
  }
#pragma GCC unroll 6
  for (int v = 0; v < vectors; ++v) {
    if (v + 1 < vectors)
      Simd::store(to + v * width, acc[v]);
    else
      last.store(to + v * width, acc[v]);
  }
}

/// The same for any length, in runs of up to six vectors.
TENON_INLINE void add_terms(const Live* live, std::int64_t count, const float* w, std::int64_t stride, float* to,
                            std::int64_t length) {
  std::int64_t i = 0;
  for (; i + run_vectors * width <= length; i += run_vectors * width)
    add_run<run_vectors>(live, count, w + i, stride, to + i, Whole{});
  for (; i + 2 * width <= length; i += 2 * width) add_run<2>(live, count, w + i, stride, to + i, Whole{});
  for (; i + width <= length; i += width) add_run<1>(live, count, w + i, stride, to + i, Whole{});
  if (i < length) add_run<1>(live, count, w + i, stride, to + i, Part{length - i});
}

/// All live terms of one output row, position by position.
void add_row(const Conv2dPlan& p, const PooledGradient& dz, const float* turned, std::int64_t oy, float* sums,
             Live* live) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c, terms = terms_of(p);
  // Neighbouring taps of a row are neighbours in memory where nothing is dilated and there is one group.
  const bool joined = g.dilation_w == 1 && g.groups == 1;
  for (std::int64_t ox = 0; ox < 2 * g.pw; ++ox) {
    const std::int64_t at = (oy / 2 * g.pw + ox / 2) * g.k;
    Live* end = live;
    for_each_equal(dz.mask + at, g.k, static_cast<int>(oy % 2 * 2 + ox % 2), 0xFF, [&](std::int64_t k) {
      *end++ = {static_cast<std::int32_t>(k), dz.gy[at + k] * dz.scale};
    });
    for (std::int64_t kh = 0; kh < g.kh && end != live; ++kh) {
      float* row = sums + (oy * g.stride_h + kh * g.dilation_h) * line + ox * g.stride_w * g.c;
      if (joined) {
        add_terms(live, end - live, turned + kh * g.kw * p.cg, terms, row, std::int64_t{g.kw} * g.c);
        continue;
      }
      for (std::int64_t kw = 0; kw < g.kw; ++kw) {
        const Live* first = live;
        for (std::int64_t group = 0; group < g.groups; ++group) {  // k is sorted: the terms of a group are neighbours
          const Live* last = first;
          while (last != end && last->k < (group + 1) * p.kg) ++last;
          add_terms(first, last - first, turned + (kh * g.kw + kw) * p.cg, terms,
                    row + kw * g.dilation_w * g.c + group * p.cg, p.cg);
          first = last;
        }
      }
    }
  }
}

void one_image(const Conv2dPlan& p, const Call& call, const float* turned, std::int64_t n, float* scratch) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c, image = std::int64_t{g.h} * g.w * g.c;
  float* gx = output<float>(call, 0) + n * image;
  float* sums = p.padded ? scratch : gx;
  auto* live = reinterpret_cast<Live*>(scratch + padded_floats(p));
  std::memset(sums, 0, static_cast<std::size_t>(p.padded_h * line) * sizeof(float));
  const PooledGradient dz = pooled_gradient(g, call, n);
  for (std::int64_t oy = 0; oy < 2 * g.ph; ++oy) add_row(p, dz, turned, oy, sums, live);
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
