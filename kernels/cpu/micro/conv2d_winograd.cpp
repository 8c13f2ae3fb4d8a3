// conv2d_winograd: y = epilogue(correlation of x (n,h,w,c) with filter (3,3,c,k)), stride 1, by F(4x4, 3x3): 36 products a
// tile of 4 x 4 outputs instead of 144. V = B^T d B of each 6 x 6 input tile, U = G g G^T of each filter, M = sum over c of
// U V point by point, y = A^T M A (Lavin, Gray 2016, "Fast algorithms for convolutional neural networks").
// Layout: U packed as [panel][point][c][2 width]; a register tile's height of tiles at a time, V [point][tile][c] and M
// [point][tile][2 width], which stay in L1 and L2, while U streams by from start to end.
// A tile holds whole 2x2 pooling windows, so that pooling happens on the way out.
// Parallel over images, and over blocks of tiles where no mask is written.
// Order: not canonical (precision tf32); the same for every run and number of threads.
// Error: 2^-24 (c + 24) times the same algorithm on absolute values at most, before the activation: the transforms
// cancel large numbers. A value that is not finite may reach its whole tile.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_pooled.hpp"
#include "kernels/cpu/micro/conv2d_tile.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int points = 36, side = 6, outputs = 4;

/// B^T of six values, `step` apart.
TENON_INLINE void transform_input(Vf* d, int step) {
  const Vf d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const Vf four = Simd::set(4.f), five = Simd::set(5.f), two = Simd::set(2.f);
  const Vf a = Simd::fma(-four, d2, d4), b = Simd::fma(-four, d1, d3), c = d4 - d2, e = two * (d3 - d1);
  d[0] = Simd::fma(four, d0, Simd::fma(-five, d2, d4));
  d[step] = a + b;
  d[2 * step] = a - b;
  d[3 * step] = c + e;
  d[4 * step] = c - e;
  d[5 * step] = Simd::fma(four, d1, Simd::fma(-five, d3, d5));
}
/// G of three values into six.
TENON_INLINE void transform_filter(const Vf* g, int step, Vf* to, int to_step) {
  const Vf g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const Vf sixth = Simd::set(1.f / 6.f), outer = (g0 + g2) * sixth, inner = g1 * sixth;
  const Vf low = Simd::fma(Simd::set(1.f / 24.f), g0, g2 * sixth), high = g1 * Simd::set(1.f / 12.f);
  to[0] = g0 * Simd::set(0.25f);
  to[to_step] = -(outer + inner);
  to[2 * to_step] = inner - outer;
  to[3 * to_step] = low + high;
  to[4 * to_step] = low - high;
  to[5 * to_step] = g2;
}
/// A^T of six values into four.
TENON_INLINE void transform_output(const Vf* m, int step, Vf* to, int to_step) {
  const Vf m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step], m5 = m[5 * step];
  const Vf a = m1 + m2, b = m1 - m2, c = m3 + m4, d = m3 - m4;
  to[0] = m0 + a + c;
  to[to_step] = Simd::fma(Simd::set(2.f), d, b);
  to[2 * to_step] = Simd::fma(Simd::set(4.f), c, a);
  to[3 * to_step] = Simd::fma(Simd::set(8.f), d, b) + m5;
}

/// U of panel `q`, channels `which`.
void pack_filter(const Conv2dPlan& p, const float* filter, std::int64_t q, Range which, float* packed) {
  const ConvGeometry& g = p.g;
  const std::int64_t count = smaller(panel, g.k - q * panel), point = g.c * panel;
  for (std::int64_t c = which.begin; c < which.end; ++c)
    for (std::int64_t j = 0; j < panel; j += width) {
      const std::int64_t left = smaller(count - j, width);
      Vf tap[9] = {}, half[3 * side], u[points];
      if (left > 0)
        for (int t = 0; t < 9; ++t) {
          const float* from = filter + (t * g.c + c) * g.k + q * panel + j;
          tap[t] = left == width ? Simd::load(from) : Simd::load_n(from, left);
        }
      for (int x = 0; x < 3; ++x) transform_filter(tap + x, 3, half + x, 3);
      for (int y = 0; y < side; ++y) transform_filter(half + 3 * y, 1, u + side * y, 1);
      for (int i = 0; i < points; ++i) Simd::store(packed + (q * points + i) * point + c * panel + j, u[i]);
    }
}

/// V of one input tile, to[point * point_step + c].
TENON_INLINE void load_tile(const Conv2dPlan& p, const float* x, float* to, std::int64_t point_step) {
  const std::int64_t line = std::int64_t{p.padded_w} * p.g.c;
  for_each_lanes(p.g.c, [&](std::int64_t c, auto lanes) {
    Vf d[points];
#pragma GCC unroll 6
    for (int y = 0; y < side; ++y)
#pragma GCC unroll 6
      for (int t = 0; t < side; ++t) d[y * side + t] = lanes.load(x + y * line + t * p.g.c + c);
#pragma GCC unroll 6
    for (int t = 0; t < side; ++t) transform_input(d + t, side);
#pragma GCC unroll 6
    for (int y = 0; y < side; ++y) transform_input(d + y * side, 1);
#pragma GCC unroll 36
    for (int i = 0; i < points; ++i) lanes.store(to + i * point_step + c, d[i]);
  });
}

struct OutputTile {
  const float* m;  // of the tile, [point * point_step + j]
  std::int64_t point_step;
  std::int64_t n, oy, ox;  // first output
  std::int64_t k, count;   // first filter of the panel, filters
};

/// y = A^T M A of one tile and panel, through bias and activation, pooled or not.
template <class F>
TENON_INLINE void store_tile(const Conv2dPlan& p, const Call& call, const OutputTile& t, const F& f) {
  const ConvGeometry& g = p.g;
  const float* bias = g.bias ? input<float>(call, 2) + t.k : nullptr;
  const bool relu = static_cast<op::UnaryFn>(g.activation) == op::UnaryFn::relu;
  float* y = output<float>(call, 0);
  std::uint8_t* mask = g.mask && g.pool ? output<std::uint8_t>(call, 1) : nullptr;
  for_each_lanes(t.count, [&](std::int64_t j, auto lanes) {
    Vf m[points], half[outputs * side], z[outputs * outputs];
#pragma GCC unroll 36
    for (int i = 0; i < points; ++i) m[i] = Simd::load(t.m + i * t.point_step + j);
#pragma GCC unroll 6
    for (int x = 0; x < side; ++x) transform_output(m + x, side, half + x, side);
#pragma GCC unroll 4
    for (int r = 0; r < outputs; ++r) transform_output(half + r * side, 1, z + r * outputs, 1);
    const Vf b = bias != nullptr ? lanes.load(bias + j) : Vf{};
    for (Vf& each : z) each += b;
    const std::int64_t step = g.pool ? 2 : 1;
    for (std::int64_t r = 0; r < outputs; r += step)
      for (std::int64_t c = 0; c < outputs; c += step) {
        const std::int64_t oy = (t.oy + r) / step, ox = (t.ox + c) / step;
        if (oy >= g.ph || ox >= g.pw) continue;
        const std::int64_t at = ((t.n * g.ph + oy) * g.pw + ox) * g.k + t.k + j;
        const Vf* window = z + r * outputs + c;
        if (!g.pool) {
          lanes.store(y + at, f.value(window[0]));
          continue;
        }
        const Vf v[4] = {window[0], window[1], window[outputs], window[outputs + 1]};
        const Winner best = gated(winner_of(v), relu);
        lanes.store(y + at, best.value);
        if (mask != nullptr) store_bytes(mask + at, narrow(best.position), t.count - j);
      }
  });
}

/// M of a few tiles and one panel, all points: one call for 36 short products.
struct ProductArgs {
  const float *v, *u;  // of the first tile, of the panel
  float* m;
  std::int64_t channels;
};
template <int count>
void multiply_points(const ProductArgs& a) {
  constexpr int bases = (count + 2) / 3;
  std::int64_t step = a.channels, step2 = 2 * a.channels;
  const float *v = a.v, *u = a.u;
  float* m = a.m;
  for (int point = 0; point < points; ++point, v += tile_height * a.channels, m += tile_height * panel) {
    const float* base[bases];
    for (int b = 0; b < bases; ++b) base[b] = v + 3 * b * step;
    Vf acc[count][2];
    clear(acc);
    const auto add = [&](auto terms) __attribute__((always_inline)) {
      add_terms<count, terms.value>(acc, base, step, step2, u);
      u += terms.value * panel;
#pragma GCC unroll 16
      for (int b = 0; b < bases; ++b) {
        base[b] += terms.value;
        keep_register(base[b]);
      }
      keep_register(step);
      keep_register(step2);
    };
    std::int64_t left = a.channels;
    for (; left >= unrolled_terms; left -= unrolled_terms) add(Count<unrolled_terms>{});
    for (; left > 0; --left) add(Count<1>{});
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) {
      Simd::store(m + i * panel, acc[i][0]);
      Simd::store(m + i * panel + width, acc[i][1]);
    }
  }
}
using Products = void (*)(const ProductArgs&);
constexpr Products products[] = {nullptr,
                                 multiply_points<1>,
                                 multiply_points<2>,
                                 multiply_points<3>,
                                 multiply_points<4>,
                                 multiply_points<5>,
                                 multiply_points<6>,
                                 multiply_points<7>,
                                 multiply_points<8>,
                                 multiply_points<9>,
                                 multiply_points<10>,
                                 multiply_points<11>,
                                 multiply_points<12>,
                                 multiply_points<13>,
                                 multiply_points<14>};

/// Tiles `which` of one image: at most tile_height.
void run_tiles(const Conv2dPlan& p, const Call& call, const float* image, const float* packed, float* v, std::int64_t n,
               Range which) {
  const ConvGeometry& g = p.g;
  const std::int64_t across = blocks_of(g.ow, outputs), line = std::int64_t{p.padded_w} * g.c;
  float* m = v + points * tile_height * g.c;
  for (std::int64_t t = which.begin; t < which.end; ++t)
    load_tile(p, image + t / across * outputs * line + t % across * outputs * g.c, v + (t - which.begin) * g.c,
              tile_height * g.c);
  for (std::int64_t q = 0; q < p.panels; ++q) {
    products[which.size()]({v, packed + q * points * g.c * panel, m, g.c});
    pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, [&](const auto& f) {
      for (std::int64_t t = which.begin; t < which.end; ++t)
        store_tile(p, call,
                   {m + (t - which.begin) * panel, tile_height * panel, n, t / across * outputs, t % across * outputs,
                    q * panel, smaller(panel, g.k - q * panel)},
                   f);
    });
  }
}

}  // namespace

void conv2d_winograd(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const std::int64_t count = blocks_of(g.oh, outputs) * blocks_of(g.ow, outputs);
  const std::int64_t pieces = blocks_of(count, tile_height);
  // A mask is finished image by image.
  const std::int64_t blocks = g.mask ? 1 : pieces;
  const std::int32_t threads = team_size(call, p);
  Shares shares(threads, g.n * blocks);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const Range channels = part(g.c, thread, team);
    for (std::int64_t q = 0; q < p.panels; ++q) pack_filter(p, input<float>(call, 1), q, channels, work + p.filter_at);
#pragma omp barrier
    float* scratch = work + p.scratch_at + thread * p.scratch_each;
    Images images = images_of(p, input<float>(call, 0), scratch);
    float* v = scratch + padded_floats(p);
    for (Range mine{}; shares.take(thread, mine);) {
      const std::int64_t n = mine.begin / blocks;
      images.load(n, n + 1);
      const Range mine_of = part(pieces, mine.begin % blocks, blocks);
      for (std::int64_t piece = mine_of.begin; piece < mine_of.end; ++piece)
        run_tiles(p, call, images.at(n), work + p.filter_at, v, n, part(count, piece, pieces));
      if (g.mask)
        for (std::int64_t unit = n * g.ph; unit < (n + 1) * g.ph; ++unit) finish_unit(p, call, unit);
    }
  }
}

}  // namespace tenon::cpu::TENON_ISA
