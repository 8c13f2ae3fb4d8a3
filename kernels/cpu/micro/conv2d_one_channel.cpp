// conv2d_one_channel: y(n,oy,ox,k) = activation(bias(k) + sum over (kh,kw) of x(n,iy,ix) filter(kh,kw,k)), where x has one
// channel: the first layer of a network that sees grey images. 3x3 taps, and 5x5 with 32 registers.
// Layout: nothing is packed; the weights of two vectors of filters (of one, where registers are few or taps are many) stay
// in registers while four pixels at a time pass, so a pixel costs one broadcast a tap, and y is written once, whole cache
// lines in a row. Activations other than relu pass over a row that lies in L1.
// Parallel over output rows of all images.
// Order: one FMA chain per output over (kh, kw) ascending, no chunks.
// Error: (taps + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_end.hpp"
#include "kernels/cpu/micro/conv2d_one_channel.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Pixels, and vectors of filters, whose sums are in registers beside the weights of so many taps.
constexpr int together = 4;
constexpr int vectors_of(int taps) { return registers == 32 && taps == 9 ? 2 : 1; }

/// Some pixels of a row, some vectors of filters: store(pixel, vector, sum).
template <int pixels, int vectors, int kh, int kw, class Store>
TENON_INLINE void some_pixels(const float* x, std::int64_t line, std::int64_t step, const Vf (*w)[vectors],
                              const Store& store) {
  Vf acc[pixels][vectors] = {};
#pragma GCC unroll 8
  for (int y = 0; y < kh; ++y)
#pragma GCC unroll 8
    for (int t = 0; t < kw; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < pixels; ++p) {
        const Vf v = Simd::set(x[y * line + p * step + t]);
#pragma GCC unroll 2
        for (int j = 0; j < vectors; ++j) acc[p][j] = Simd::fma(v, w[y * kw + t][j], acc[p][j]);
      }
#pragma GCC unroll 4
  for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) store(p, j, acc[p][j]);
}

/// A row of y for some vectors of filters from filter `first`; of the last of them as many as `last` takes.
template <int vectors, int kh, int kw, int fixed_step, class Lanes>
TENON_INLINE void some_filters(const Conv2dPlan& p, const Call& call, const float* x, std::int64_t first, bool relu,
                               Lanes last, float* y) {
  const ConvGeometry& g = p.g;
  const float *filter = input<float>(call, 1) + first, *bias = g.bias ? input<float>(call, 2) + first : nullptr;
  const std::int64_t line = p.padded_w, step = fixed_step > 0 ? fixed_step : g.stride_w;
  const auto load = [&](const float* from, int j) __attribute__((always_inline)) {
    return j + 1 < vectors ? Simd::load(from + j * width) : last.load(from + j * width);
  };
  Vf w[kh * kw][vectors], b[vectors] = {};
#pragma GCC unroll 32
  for (int t = 0; t < kh * kw; ++t)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) w[t][j] = load(filter + t * g.k, j);
  if (bias != nullptr)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) b[j] = load(bias, j);
  float* to = y + first;
  const auto store = [&](int pixel, int j, Vf sum) __attribute__((always_inline)) {
    if (bias != nullptr) sum += b[j];
    if (relu) sum = pointwise::Relu<Simd>::value(sum);
    float* at = to + pixel * g.k + j * width;
    j + 1 < vectors ? Simd::store(at, sum) : last.store(at, sum);
  };
  std::int64_t px = 0;
  for (; px + together <= g.ow; px += together, to += together * g.k)
    some_pixels<together, vectors, kh, kw>(x + px * step, line, step, w, store);
  for (; px < g.ow; ++px, to += g.k) some_pixels<1, vectors, kh, kw>(x + px * step, line, step, w, store);
}

/// One row of y, before the activations that registers do not do.
template <int kh, int kw, int fixed_step>
void one_row(const Conv2dPlan& p, const Call& call, const float* x, bool relu, float* y) {
  constexpr int vectors = vectors_of(kh * kw);
  const std::int64_t k = p.g.k;
  std::int64_t j = 0;
  for (; j + vectors * width <= k; j += vectors * width)
    some_filters<vectors, kh, kw, fixed_step>(p, call, x, j, relu, Whole{}, y);
  for (; j < k; j += width) some_filters<1, kh, kw, fixed_step>(p, call, x, j, relu, Part{k - j}, y);
}

void activate(op::UnaryFn fn, float alpha, float* y, std::int64_t count) {
  pointwise::with_unary<Simd>(fn, alpha, 0.f, [&](const auto& f) {
    for_each_lanes(count, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f.value(lanes.load(y + i))); });
  });
}

}  // namespace

void conv2d_one_channel(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const auto fn = static_cast<op::UnaryFn>(g.activation);
  const std::int64_t rows = std::int64_t{g.n} * g.oh, length = std::int64_t{g.ow} * g.k;
  const std::int32_t threads = team_size(call, p);
  Shares shares(threads, rows, smaller(g.oh, blocks_of(rows, 16 * threads)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num();
    Images images = images_of(p, input<float>(call, 0), work + p.scratch_at + thread * p.scratch_each);
    with_taps(g, [&](auto kh, auto kw, auto step) {
      for (Range mine{}; shares.take(thread, mine);)
        for (std::int64_t row = mine.begin; row < mine.end; ++row) {
          images.load(row / g.oh, row / g.oh + 1);
          const float* x = images.at(row / g.oh) + row % g.oh * g.stride_h * p.padded_w;
          float* y = output<float>(call, 0) + row * length;
          one_row<kh.value, kw.value, step.value>(p, call, x, fn == op::UnaryFn::relu, y);
          if (!in_registers(fn)) activate(fn, g.alpha, y, length);
          finish_unit(p, call, row);
        }
    });
  }
}

}  // namespace tenon::cpu::TENON_ISA
