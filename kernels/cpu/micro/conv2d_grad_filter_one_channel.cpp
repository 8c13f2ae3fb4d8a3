// conv2d_grad_filter_one_channel: gfilter(kh,kw,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix), and gbias(k) = sum of
// dz, where x has one channel and dz undoes an epilogue without pool. 3x3 taps, and 5x5 with 32 registers.
// Layout: the sums of a vector of filters, one a tap and the bias, stay in registers while a sample group passes; dz is
// undone on the way, and never stored. With 32 registers and 3x3 taps two vectors pass together, and share the pixels.
// Parallel over groups of order::sample_group images; their partial sums join by the pair tree.
// Order: one FMA chain per sample group over (n, oy, ox) ascending. Error: (terms of a group + log2 of the groups) * 2^-24
// * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_one_channel.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// visit(dz), where dz(i, count, lanes) is a vector of the gradient of the sums, from element i.
template <class Visit>
TENON_INLINE void with_dz(const ConvGeometry& g, const Call& call, const Visit& visit) {
  const PrologueGeometry undo = prologue_of(g);
  const float* gy = input<float>(call, 0);
  if (!undo.any) return visit([&](std::int64_t i, std::int64_t, auto lanes) { return lanes.load(gy + i); });
  if (undo.mask) {
    const auto* mask = static_cast<const std::uint8_t*>(call.in[2]);
    const Vf scale = Simd::set(undo.dropout > 0.f ? philox::dropout_scale(undo.dropout) : 1.f);
    return visit([&](std::int64_t i, std::int64_t count, auto lanes) {
      const Vi killed = widen(load_bytes(mask + i, count)) == std::int32_t{op::Epilogue::killed};
      return killed ? Vf{} : lanes.load(gy + i) * scale;
    });
  }
  const float* y = input<float>(call, 2);
  pointwise::with_unary<Simd>(undo.activation, undo.alpha, 0.f, [&](const auto& f) {
    visit([&](std::int64_t i, std::int64_t, auto lanes) { return f.gradient(lanes.load(gy + i), lanes.load(y + i)); });
  });
}

/// Vectors of filters that pass together.
template <int taps>
constexpr int most_vectors = 2 * (taps + 1) + 6 <= registers ? 2 : 1;

/// `vectors` of filters from filter j, the last with `lanes`, over the images [first, last): partial sums (taps, k), then
/// of the bias.
template <int kh, int kw, int fixed_step, int vectors, class Dz, class Lanes>
TENON_INLINE void add_group(const Conv2dPlan& p, const float* x, const Dz& dz, Range images, std::int64_t j,
                            Lanes lanes, float* scratch, float* partial) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = p.padded_w, step = fixed_step > 0 ? fixed_step : g.stride_w;
  Vf acc[vectors][kh * kw] = {}, sum[vectors] = {};
  for (std::int64_t n = images.begin; n < images.end; ++n) {
    const float* row = padded_image(p, x, n, scratch);
    std::int64_t i = n * g.oh * g.ow * g.k + j;
    for (std::int64_t oy = 0; oy < g.oh; ++oy, row += g.stride_h * line) {
      const float* at = row;
      for (std::int64_t ox = 0; ox < g.ow; ++ox, at += step, i += g.k) {
        Vf d[vectors];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
          d[v] = v + 1 < vectors ? dz(i + v * width, width, Whole{}) : dz(i + v * width, g.k - j - v * width, lanes);
          sum[v] += d[v];
        }
#pragma GCC unroll 8
        for (int y = 0; y < kh; ++y)
#pragma GCC unroll 8
          for (int t = 0; t < kw; ++t) {
            const Vf pixel = Simd::set(at[y * line + t]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) acc[v][y * kw + t] = Simd::fma(pixel, d[v], acc[v][y * kw + t]);
          }
      }
    }
  }
  const auto store = [&](std::int64_t at, const Vf& value, int v) {
    v + 1 < vectors ? Simd::store(partial + at + j + v * width, value)
                    : lanes.store(partial + at + j + v * width, value);
  };
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 32
    for (int t = 0; t < kh * kw; ++t) store(t * g.k, acc[v][t], v);
    if (g.bias) store(kh * kw * g.k, sum[v], v);
  }
}

}  // namespace

void conv2d_grad_filter_one_channel(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  float* partials = work + p.partial_at;
  const std::int64_t groups = order::chunks(g.n, order::sample_group), vectors = blocks_of(g.k, width),
                     taps = std::int64_t{g.kh} * g.kw;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    // Fewer vectors together where there would be too few parts for all threads.
    const bool many = groups * blocks_of(vectors, 2) >= omp_get_num_threads();
    with_taps(
        g, [&](auto kh, auto kw, auto step) __attribute__((always_inline)) {
          constexpr int most = most_vectors<kh.value * kw.value>;
          const std::int64_t together = many ? most : 1, parts = blocks_of(vectors, together);
#pragma omp for schedule(dynamic, 1)
          for (std::int64_t i = 0; i < groups * parts; ++i) {
            const std::int64_t s = i / parts, j = i % parts * together * width,
                               own = smaller(together, vectors - i % parts * together),
                               last = g.k - j - (own - 1) * width;
            const Range images{s * order::sample_group, smaller(g.n, (s + 1) * order::sample_group)};
            with_dz(
                g, call, [&](const auto& dz) __attribute__((always_inline)) {
                  const auto add = [&](auto count, auto lanes) __attribute__((always_inline)) {
                    add_group<kh.value, kw.value, step.value, count.value>(
                        p, input<float>(call, 1), dz, images, j, lanes, scratch, partials + s * p.partial_each);
                  };
                  const auto add_all = [&](auto lanes) __attribute__((always_inline)) {
                    own == most ? add(Count<most>{}, lanes) : add(Count<1>{}, lanes);
                  };
                  if (last >= width)
                    add_all(Whole{});
                  else
                    add_all(Part{last});
                });
          }
        });
    join_partials(partials, p.partial_each, groups);
  }
  std::memcpy(output<float>(call, 0), partials, static_cast<std::size_t>(taps * g.k) * sizeof(float));
  if (g.bias) std::memcpy(output<float>(call, 1), partials + taps * g.k, static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
