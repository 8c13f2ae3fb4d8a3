// conv2d_grad_filter: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where dz undoes the epilogue. Two ways, same bits:
//   by channel   behind a pool: each k has a list of its live positions; the gradients of that k, (kh,kw,c), stay in
//                registers while the list is walked. A dead term costs nothing.
//   by tap       otherwise: a tile of (kh,kw,c) times two vectors of k in registers, over all positions.
// Parallel over groups of order::sample_group images; each writes its partial sums, which join by the pair tree.
// Order: one FMA chain per sample group over (n, oy, ox) ascending. Error: (terms of a group + log2 of the groups) *
// 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int run_vectors = width == 16 ? 18 : 9;
constexpr int tile_taps = tile_pixels;

/// A live term of one filter: where its window of x begins, and dz.
struct Position {
  std::int32_t x;
  float dz;
};

/// to[0, vectors) += dz * x over the list; vector v lies at rows[v] behind the window's start.
template <int vectors>
TENON_INLINE void walk(const Position* list, std::int64_t count, const float* x, const std::int32_t* offset, float* to,
                       std::int64_t last) {
  Vf acc[vectors];
  for (int v = 0; v < vectors; ++v)
    acc[v] = v + 1 < vectors || last == width ? Simd::load(to + v * width) : Simd::load_n(to + v * width, last);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* window = x + list[i].x;
    const Vf dz = Simd::set(list[i].dz);
#pragma GCC unroll 18
    for (int v = 0; v + 1 < vectors; ++v) acc[v] = Simd::fma(dz, Simd::load(window + offset[v]), acc[v]);
    const float* tail = window + offset[vectors - 1];
    acc[vectors - 1] = Simd::fma(dz, last == width ? Simd::load(tail) : Simd::load_n(tail, last), acc[vectors - 1]);
  }
  for (int v = 0; v < vectors; ++v) {
    if (v + 1 < vectors || last == width)
      Simd::store(to + v * width, acc[v]);
    else
      Simd::store_n(to + v * width, acc[v], last);
  }
}

/// Adds one image to the partial sums [k][kh][kw c] by channel lists.
void add_by_channel(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, float* lists,
                    float* partial) {
  const ConvGeometry& g = p.g;
  const std::int64_t positions = std::int64_t{g.oh} * g.ow, out = std::int64_t{g.ph} * g.pw * g.k;
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * g.c, row = std::int64_t{g.kw} * g.c,
                     line = std::int64_t{p.padded_w} * g.c;
  auto* list = reinterpret_cast<Position*>(lists);
  auto* count = reinterpret_cast<std::int64_t*>(list + positions * g.k);
  auto* live = reinterpret_cast<Live*>(count + g.k);
  auto* offset = reinterpret_cast<std::int32_t*>(live + g.k);
  for (std::int64_t k = 0; k < g.k; ++k) count[k] = 0;
  const float scale = g.dropout > 0.f ? philox::dropout_scale(g.dropout) : 1.f;
  const float* gy = input<float>(call, 0) + n * out;
  const std::uint8_t* mask = static_cast<const std::uint8_t*>(call.in[2]) + n * out;
  for (std::int64_t oy = 0; oy < g.oh; ++oy)
    for (std::int64_t ox = 0; ox < g.ow; ++ox) {
      const std::int64_t alive = live_terms(g, gy, mask, scale, oy, ox, live);
      const auto start = static_cast<std::int32_t>(oy * g.stride_h * line + ox * g.stride_w * g.c);
      for (std::int64_t i = 0; i < alive; ++i) list[live[i].k * positions + count[live[i].k]++] = {start, live[i].dz};
    }
  // The window's vectors: rows of kw * c neighbours, whole vectors first within a row.
  const std::int64_t per_row = blocks_of(row, width), tail = row - (per_row - 1) * width;
  for (std::int64_t v = 0; v < g.kh * per_row; ++v)
    offset[v] = static_cast<std::int32_t>(v / per_row * g.dilation_h * line + v % per_row * width);
  float* gbias = g.bias ? partial + terms * g.k : nullptr;
  for (std::int64_t k = 0; k < g.k; ++k) {
    const Position* l = list + k * positions;
    float* to = partial + k * terms;
    if (gbias != nullptr)
      for (std::int64_t i = 0; i < count[k]; ++i) gbias[k] += l[i].dz;
    if (tail == width) {
      const std::int64_t vectors = g.kh * per_row;
      std::int64_t v = 0;
      for (; v + run_vectors <= vectors; v += run_vectors)
        walk<run_vectors>(l, count[k], image, offset + v, to + v * width, width);
      for (; v + 3 <= vectors; v += 3) walk<3>(l, count[k], image, offset + v, to + v * width, width);
      for (; v < vectors; ++v) walk<1>(l, count[k], image, offset + v, to + v * width, width);
      continue;
    }
    for (std::int64_t r = 0; r < g.kh; ++r)
      for (std::int64_t v = 0; v < per_row; ++v)
        walk<1>(l, count[k], image, offset + r * per_row + v, to + r * row + v * width, v + 1 < per_row ? width : tail);
  }
}

/// A tile of up to tile_taps (kh,kw,c) times a panel of k over the positions of one image.
template <int taps>
void tap_tile(const Conv2dPlan& p, const float* image, const float* dz, std::int64_t dz_stride,
              const std::int64_t* offset, float* to, std::int64_t to_stride) {
  const ConvGeometry& g = p.g;
  const std::int64_t line = std::int64_t{p.padded_w} * g.c;
  Vf acc[taps][2];
  for (int t = 0; t < taps; ++t) {
    acc[t][0] = Simd::load(to + t * to_stride);
    acc[t][1] = Simd::load(to + t * to_stride + width);
  }
  std::int64_t o[taps];
  for (int t = 0; t < taps; ++t) o[t] = offset[t];
  for (std::int64_t oy = 0; oy < g.oh; ++oy) {
    const float* x = image + oy * g.stride_h * line;
    for (std::int64_t ox = 0; ox < g.ow; ++ox, x += g.stride_w * g.c, dz += dz_stride) {
      const Vf d0 = Simd::load(dz), d1 = Simd::load(dz + width);
#pragma GCC unroll 16
      for (int t = 0; t < taps; ++t) {
        const Vf v = Simd::set(x[o[t]]);
        acc[t][0] = Simd::fma(v, d0, acc[t][0]);
        acc[t][1] = Simd::fma(v, d1, acc[t][1]);
      }
    }
  }
  for (int t = 0; t < taps; ++t) {
    Simd::store(to + t * to_stride, acc[t][0]);
    Simd::store(to + t * to_stride + width, acc[t][1]);
  }
}
using TapTile = void (*)(const Conv2dPlan&, const float*, const float*, std::int64_t, const std::int64_t*, float*,
                         std::int64_t);
constexpr TapTile tap_tiles[] = {nullptr,      tap_tile<1>,  tap_tile<2>,  tap_tile<3>,  tap_tile<4>,
                                 tap_tile<5>,  tap_tile<6>,  tap_tile<7>,  tap_tile<8>,  tap_tile<9>,
                                 tap_tile<10>, tap_tile<11>, tap_tile<12>, tap_tile<13>, tap_tile<14>};

/// Adds one image to the partial sums [group][kh kw c][kg, padded to panels].
void add_by_tap(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, float* scratch,
                float* partial) {
  const ConvGeometry& g = p.g;
  const std::int64_t positions = std::int64_t{g.oh} * g.ow, stride = std::int64_t{g.groups} * p.panels * panel;
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * p.cg, line = std::int64_t{p.padded_w} * g.c;
  float* padded = scratch;                     // dz (positions, stride)
  float* dense = padded + positions * stride;  // dz as dense_dz makes it
  const float* dz = dense_dz(p, call, n, dense);
  float* gbias = g.bias ? partial + g.groups * terms * p.panels * panel : nullptr;
  for (std::int64_t i = 0; i < positions; ++i)
    for (std::int64_t group = 0; group < g.groups; ++group) {
      float* to = padded + i * stride + group * p.panels * panel;
      const float* from = dz + i * g.k + group * p.kg;
      std::memcpy(to, from, static_cast<std::size_t>(p.kg) * sizeof(float));
      std::memset(to + p.kg, 0, static_cast<std::size_t>(p.panels * panel - p.kg) * sizeof(float));
      if (gbias != nullptr)
        for_each_lanes(p.kg, [&](std::int64_t j, auto lanes) {
          float* at = gbias + group * p.kg + j;
          lanes.store(at, lanes.load(at) + lanes.load(from + j));
        });
    }
  const std::int64_t count = blocks_of(terms, tile_taps);
  for (std::int64_t group = 0; group < g.groups; ++group)
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t begin = t * terms / count, end = (t + 1) * terms / count;
      std::int64_t offset[tile_taps];
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t tap = i / p.cg;
        offset[i - begin] =
            tap / g.kw * g.dilation_h * line + tap % g.kw * g.dilation_w * g.c + group * p.cg + i % p.cg;
      }
      for (std::int64_t q = 0; q < p.panels; ++q)
        tap_tiles[end - begin](p, image, padded + (group * p.panels + q) * panel, stride, offset,
                               partial + ((group * terms + begin) * p.panels + q) * panel, p.panels * panel);
    }
}

/// Element i of a partial sum as the filter gradient orders it.
TENON_INLINE std::int64_t partial_index(const Conv2dPlan& p, std::int64_t term, std::int64_t k) {
  const std::int64_t terms = std::int64_t{p.g.kh} * p.g.kw * p.cg;
  if (p.by_channel) return k * terms + term;
  return ((k / p.kg) * terms + term) * p.panels * panel + k % p.kg;
}

}  // namespace

void conv2d_grad_filter(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const float* x = input<float>(call, 1);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), terms = std::int64_t{g.kh} * g.kw * p.cg;
  float* partials = work + p.partial_at;
  float* gfilter = output<float>(call, 0);
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    float* rest = scratch + (p.padded ? std::int64_t{p.padded_h} * p.padded_w * g.c : 0);
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t s = 0; s < groups; ++s) {
      float* partial = partials + s * p.partial_each;
      std::memset(partial, 0, static_cast<std::size_t>(p.partial_each) * sizeof(float));
      for (std::int64_t n = s * order::sample_group; n < smaller(g.n, (s + 1) * order::sample_group); ++n) {
        const float* image = padded_image(p, x, n, scratch);
        p.by_channel ? add_by_channel(p, call, image, n, rest, partial) : add_by_tap(p, call, image, n, rest, partial);
      }
    }
    // The pair tree, level by level: partial i takes i + distance.
    for (std::int64_t distance = 1; distance < groups; distance *= 2)
#pragma omp for schedule(static)
      for (std::int64_t block = 0; block < blocks_of(p.partial_each, 1024); ++block)
        for (std::int64_t i = 0; i + distance < groups; i += 2 * distance) {
          float* to = partials + i * p.partial_each;
          const float* from = to + distance * p.partial_each;
          for (std::int64_t e = block * 1024; e < smaller(p.partial_each, (block + 1) * 1024); ++e) to[e] += from[e];
        }
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < terms; ++t)
      for (std::int64_t k = 0; k < g.k; ++k) gfilter[t * g.k + k] = partials[partial_index(p, t, k)];
  }
  if (!g.bias) return;
  float* gbias = output<float>(call, 1);
  const float* sums = partials + (p.by_channel ? terms * g.k : std::int64_t{g.groups} * terms * p.panels * panel);
  for (std::int64_t k = 0; k < g.k; ++k) gbias[k] = sums[k];
}

}  // namespace tenon::cpu::TENON_ISA
