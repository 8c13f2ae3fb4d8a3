// conv2d_grad_input: gx(n,iy,ix,c) = sum over (oy,ox,k) of dz(n,oy,ox,k) filter(kh,kw,c,k), where dz undoes the
// epilogue. Layout: the filter is turned to [k][kh][kw][c], so that a live term adds whole vectors of neighbouring (kw,
// c) to the image's gradient, which lies (padded) in L2. Terms at one position share the loads and stores: up to 6
// vectors stay in registers while all its live k pass. Dead terms are never touched: behind a 2x2 pool at most a
// quarter is alive. Parallel over images. Order: one FMA chain per gx over (oy, ox, k) ascending, no chunks. Error:
// terms * 2^-24 * sum |dz w| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int run_vectors = 6;

/// filter (kh,kw,cg,k) -> [k][taps][cg] for k in [begin, end).
void turn_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t begin, std::int64_t end) {
  const std::int64_t terms = std::int64_t{p.g.kh} * p.g.kw * p.cg;
  for (std::int64_t k = begin; k < end; ++k)
    for (std::int64_t t = 0; t < terms; ++t) to[k * terms + t] = filter[t * p.g.k + k];
}

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

void one_image(const Conv2dPlan& p, const Call& call, const float* turned, std::int64_t n, float* scratch) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c, image = std::int64_t{g.h} * g.w * g.c,
                     terms = std::int64_t{g.kh} * g.kw * p.cg;
  float* gx = output<float>(call, 0) + n * image;
  float* sums = p.padded ? scratch : gx;
  float* dense = scratch + (p.padded ? std::int64_t{p.padded_h} * line : 0);
  auto* live = reinterpret_cast<Live*>(dense + (g.pool ? 0 : std::int64_t{g.oh} * g.ow * g.k));
  std::memset(sums, 0, static_cast<std::size_t>(p.padded_h * line) * sizeof(float));

  const std::int64_t out = std::int64_t{g.ph} * g.pw * g.k;
  const float* gy = input<float>(call, 0) + n * out;
  const auto* mask = static_cast<const std::uint8_t*>(g.pool ? call.in[2] : nullptr);
  if (mask != nullptr) mask += n * out;
  const float scale = g.dropout > 0.f ? philox::dropout_scale(g.dropout) : 1.f;
  const float* dz = g.pool ? nullptr : dense_dz(p, call, n, dense);
  // Neighbouring taps of a row are neighbours in memory where nothing is dilated and there is one group.
  const bool joined = g.dilation_w == 1 && g.groups == 1;

  for (std::int64_t oy = 0; oy < g.oh; ++oy)
    for (std::int64_t ox = 0; ox < g.ow; ++ox) {
      std::int64_t count = 0;
      if (g.pool) {
        count = live_terms(g, gy, mask, scale, oy, ox, live);
      } else {
        for (std::int64_t k = 0; k < g.k; ++k) live[k] = {static_cast<std::int32_t>(k), dz[(oy * g.ow + ox) * g.k + k]};
        count = g.k;
      }
      if (count == 0) continue;
      for (std::int64_t kh = 0; kh < g.kh; ++kh) {
        float* row = sums + (oy * g.stride_h + kh * g.dilation_h) * line + ox * g.stride_w * g.c;
        if (joined) {
          add_terms(live, count, turned + kh * g.kw * p.cg, terms, row, std::int64_t{g.kw} * g.c);
          continue;
        }
        for (std::int64_t kw = 0; kw < g.kw; ++kw)
          for (std::int64_t group = 0; group < g.groups; ++group) {
            const Live* first = live;
            const Live* last = live + count;
            if (g.groups > 1) {  // the live terms of this group: k is sorted
              while (first != last && first->k < group * p.kg) ++first;
              const Live* end = first;
              while (end != last && end->k < (group + 1) * p.kg) ++end;
              last = end;
            }
            add_terms(first, last - first, turned + (kh * g.kw + kw) * p.cg, terms,
                      row + kw * g.dilation_w * g.c + group * p.cg, p.cg);
          }
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
