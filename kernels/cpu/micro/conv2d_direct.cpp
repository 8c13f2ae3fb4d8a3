// conv2d_direct: y = epilogue(correlation of x (n,h,w,c) with filter (kh,kw,c/groups,k)).
// Layout: the filter is packed per group as panels of two vectors of filters, [kh kw c][2 width]; a tile is up to 14 (6
// before AVX-512) neighbouring pixels of an output row times one panel, in registers. With a pooled epilogue two output
// rows are computed into L1 and pooled there: the full map is never stored.
// Parallel over output rows (or row pairs) of all images.
// Order: one FMA chain per output over (kh, kw, c) ascending inside chunks of order::k_chunk; pair tree over chunks.
// Error: (min(terms, 1024) + log2 of the chunks + 1) * 2^-24 * sum |x w| at most, before the activation.
#include <omp.h>

#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Filters of group `group`, panel `q`: [taps c][panel], zero behind the last filter.
void pack_filter(const Conv2dPlan& p, const float* filter, float* to, std::int64_t group, std::int64_t q) {
  const std::int64_t terms = std::int64_t{p.g.kh} * p.g.kw * p.cg, first = group * p.kg + q * panel;
  const std::int64_t count = smaller(panel, p.kg - q * panel);
  for (std::int64_t t = 0; t < terms; ++t)
    for (std::int64_t j = 0; j < panel; ++j) to[t * panel + j] = j < count ? filter[t * p.g.k + first + j] : 0.f;
}

/// One tile: pixels [0, pixels) from `x` at distance `step`, over terms [c0, c1) of the taps.
struct TileArgs {
  const float* x;     // first pixel, first channel of the group
  std::int64_t step;  // floats between neighbouring pixels
  std::int64_t row;   // floats between taps in h, and in w
  std::int64_t column;
  const float* w;  // packed panel
  std::int64_t kw, cg;
  std::int64_t begin, end;  // terms
  float* z;                 // (pixels, panel)
};

template <int pixels>
void tile(const TileArgs& a) {
  Vf acc[pixels][2] = {};
  std::int64_t term = a.begin;
  while (term < a.end) {
    const std::int64_t tap = term / a.cg, c0 = term % a.cg;
    const std::int64_t c1 = smaller(a.cg, c0 + a.end - term);
    const float* x = a.x + tap / a.kw * a.row + tap % a.kw * a.column;
    const float* w = a.w + tap * a.cg * panel;
    for (std::int64_t c = c0; c < c1; ++c) {
      const Vf w0 = Simd::load(w + c * panel), w1 = Simd::load(w + c * panel + width);
#pragma GCC unroll 16
      for (int i = 0; i < pixels; ++i) {
        const Vf v = Simd::set(x[i * a.step + c]);
        acc[i][0] = Simd::fma(v, w0, acc[i][0]);
        acc[i][1] = Simd::fma(v, w1, acc[i][1]);
      }
    }
    term += c1 - c0;
  }
  for (int i = 0; i < pixels; ++i) {
    Simd::store(a.z + i * panel, acc[i][0]);
    Simd::store(a.z + i * panel + width, acc[i][1]);
  }
}
using Tile = void (*)(const TileArgs&);
constexpr Tile tiles[] = {nullptr, tile<1>, tile<2>,  tile<3>,  tile<4>,  tile<5>,  tile<6>, tile<7>,
                          tile<8>, tile<9>, tile<10>, tile<11>, tile<12>, tile<13>, tile<14>};

/// z (ow, panel) of one output row and panel, in the bottom entry of `stack`.
void output_row(const Conv2dPlan& p, const float* image, const float* w, std::int64_t group, std::int64_t oy,
                float* stack) {
  const ConvGeometry& g = p.g;
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * p.cg, chunks = order::chunks(terms, order::k_chunk);
  const std::int64_t size = std::int64_t{g.ow} * panel, count = blocks_of(g.ow, tile_pixels);
  const std::int64_t step = std::int64_t{g.stride_w} * g.c, line = std::int64_t{p.padded_w} * g.c;
  const float* x = image + oy * g.stride_h * line + group * p.cg;
  const auto join = [&](int below, int top) {
    for (std::int64_t i = 0; i < size; i += width)
      Simd::store(stack + below * size + i, Simd::load(stack + below * size + i) + Simd::load(stack + top * size + i));
  };
  int height = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t px = t * g.ow / count, end = (t + 1) * g.ow / count;
      tiles[end - px]({x + px * step, step, g.dilation_h * line, std::int64_t{g.dilation_w} * g.c, w, g.kw, p.cg,
                       chunk * order::k_chunk, smaller(terms, (chunk + 1) * order::k_chunk),
                       stack + height * size + px * panel});
    }
    height = order::tree_push(chunk, height, join);
  }
  order::tree_finish(height, join);
}

/// y of one row: bias and activation. `k` is the first filter of the panel.
template <class F>
TENON_INLINE void store_row(const Conv2dPlan& p, const float* z, const float* bias, const F& f, std::int64_t k,
                            std::int64_t count, float* y) {
  for (std::int64_t px = 0; px < p.g.ow; ++px)
    for_each_lanes(count, [&](std::int64_t j, auto lanes) {
      Vf v = lanes.load(z + px * panel + j);
      if (bias != nullptr) v += lanes.load(bias + k + j);
      lanes.store(y + px * p.g.k + k + j, f.value(v));
    });
}

/// y and mask of one pooled row from two rows of z: relu(z + bias), the first largest of each window.
void store_pooled(const Conv2dPlan& p, const float* z0, const float* z1, const float* bias, std::int64_t k,
                  std::int64_t count, float* y, std::uint8_t* mask) {
  const bool relu = static_cast<op::UnaryFn>(p.g.activation) == op::UnaryFn::relu;
  const Vf zero{};
  for (std::int64_t px = 0; px < p.g.pw; ++px)
    for_each_lanes(count, [&](std::int64_t j, auto lanes) {
      const Vf b = bias != nullptr ? lanes.load(bias + k + j) : zero;
      Vf best{};
      Vi winner{};
      for (int position = 0; position < 4; ++position) {
        const float* z = (position < 2 ? z0 : z1) + (2 * px + position % 2) * panel + j;
        Vf v = bias != nullptr ? lanes.load(z) + b : lanes.load(z);
        if (relu) v = Simd::select(v <= zero, zero, v);
        // Larger, or the first NaN.
        const Vi wins = position == 0 ? Simd::set_int(-1) : (v > best) | ((v != v) & (best == best));
        best = Simd::select(wins, v, best);
        winner = (wins & position) | (~wins & winner);
      }
      if (relu) winner = winner | ((best <= zero) & std::int32_t{op::Epilogue::killed});
      lanes.store(y + px * p.g.k + k + j, best);
      std::int32_t winners[width];
      std::memcpy(winners, &winner, sizeof winner);
      for (std::int64_t l = 0; l < smaller(width, count - j); ++l)
        mask[px * p.g.k + k + j + l] = static_cast<std::uint8_t>(winners[l]);
    });
}

void one_row(const Conv2dPlan& p, const Call& call, const float* image, const float* packed, float* stack,
             std::int64_t n, std::int64_t row) {
  const ConvGeometry& g = p.g;
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * p.cg;
  const std::int64_t at = (n * g.ph + row) * g.pw * g.k;
  float* y = output<float>(call, 0) + at;
  std::uint8_t* mask = g.mask ? output<std::uint8_t>(call, 1) + at : nullptr;
  const float* bias = g.bias ? input<float>(call, 2) : nullptr;
  const std::int64_t entry = std::int64_t{g.ow} * panel * order::tree_depth(order::chunks(terms, order::k_chunk));
  for (std::int64_t group = 0; group < g.groups; ++group)
    for (std::int64_t q = 0; q < p.panels; ++q) {
      const float* w = packed + (group * p.panels + q) * terms * panel;
      const std::int64_t k = group * p.kg + q * panel, count = smaller(panel, p.kg - q * panel);
      if (g.pool) {
        output_row(p, image, w, group, 2 * row, stack);
        output_row(p, image, w, group, 2 * row + 1, stack + entry);
        store_pooled(p, stack, stack + entry, bias, k, count, y, mask);
      } else {
        output_row(p, image, w, group, row, stack);
        pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f,
                                    [&](const auto& f) { store_row(p, stack, bias, f, k, count, y); });
      }
    }
  if (!g.mask) return;
  const std::int64_t size = std::int64_t{g.pw} * g.k;
  const bool relu = static_cast<op::UnaryFn>(g.activation) == op::UnaryFn::relu;
  if (!g.pool) std::memset(mask, 0, static_cast<std::size_t>(size));
  if (!g.pool || g.dropout > 0.f) finish_masked(y, mask, at, size, relu && !g.pool, g.dropout, g.site, *call.control);
}

}  // namespace

void conv2d_direct(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const float* x = input<float>(call, 0);
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * p.cg, rows = g.n * g.ph;
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < std::int64_t{g.groups} * p.panels; ++i)
      pack_filter(p, input<float>(call, 1), work + p.filter_at + i * terms * panel, i / p.panels, i % p.panels);
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
    float* stack = scratch + (p.padded ? std::int64_t{p.padded_h} * p.padded_w * g.c : 0);
    std::int64_t image_number = -1;
    const float* image = nullptr;
    for (std::int64_t i = rows * thread / team; i < rows * (thread + 1) / team; ++i) {
      if (i / g.ph != image_number) image = padded_image(p, x, image_number = i / g.ph, scratch);
      one_row(p, call, image, work + p.filter_at, stack, i / g.ph, i % g.ph);
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
