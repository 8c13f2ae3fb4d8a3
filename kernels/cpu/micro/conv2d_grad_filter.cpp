// conv2d_grad_filter: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where dz undoes the epilogue of a pooled convolution.
// Layout: each k has a list of its live positions; the gradients of that k, (kh,kw,c), stay in registers while the list is
// walked. A dead term costs nothing. Where all are alive: conv2d_grad_filter_dense, the same bits.
// Parallel over groups of order::sample_group images; each writes its partial sums, which join by the pair tree.
// Order: one FMA chain per sample group over (n, oy, ox) ascending. Error: (terms of a group + log2 of the groups) *
// 2^-24 * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/conv2d_live.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the bias's sums begin in a sample group's partial sums: behind those of the filter.
TENON_INLINE std::int64_t bias_at(const Conv2dPlan& p) { return terms_of(p) * p.g.k; }

/// A window of `rows` x `vectors` in registers; with 16 registers there is room for 12.
constexpr int walk_rows = 3, walk_vectors = registers == 32 ? 6 : 4;

/// to(rows, vectors) += dz * x over the list; the last vector of a row has `last` floats where it is partial. x rows
/// are `x_row` floats apart, those of `to` `to_row`.
struct WalkArgs {
  Terms list;
  std::int64_t count;
  const float* x;
  std::int64_t x_row;
  float* to;
  std::int64_t to_row, last;
};
template <int rows, int vectors, bool partial>
void walk(const WalkArgs& a) {
  const auto load = [&](const float* p, int v) {
    return partial && v + 1 == vectors ? Simd::load_n(p + v * width, a.last) : Simd::load(p + v * width);
  };
  Vf acc[rows][vectors];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) acc[r][v] = load(a.to + r * a.to_row, v);
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float* x = a.x + a.list.at[i];
    const Vf dz = Simd::set(a.list.dz[i]);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::fma(dz, load(x + r * a.x_row, v), acc[r][v]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      float* p = a.to + r * a.to_row + v * width;
      if (partial && v + 1 == vectors)
        Simd::store_n(p, acc[r][v], a.last);
      else
        Simd::store(p, acc[r][v]);
    }
}
using Walk = void (*)(const WalkArgs&);
template <int rows, bool partial>
constexpr Walk walks_of[] = {walk<rows, 1, partial>,
                             walk<rows, 2, partial>,
                             walk<rows, 3, partial>,
                             walk<rows, 4, partial>,
                             walk<rows, walk_vectors == 6 ? 5 : 4, partial>,
                             walk<rows, walk_vectors == 6 ? 6 : 4, partial>};
TENON_INLINE Walk walk_of(std::int64_t rows, std::int64_t vectors, bool partial) {
  if (partial) return (rows == 1 ? walks_of<1, true> : rows == 2 ? walks_of<2, true> : walks_of<3, true>)[vectors - 1];
  return (rows == 1 ? walks_of<1, false> : rows == 2 ? walks_of<2, false> : walks_of<3, false>)[vectors - 1];
}

/// The live terms of every filter of an image: where the window of x begins, and dz.
struct FilterLists {
  Terms terms;
  std::int32_t* count;
  std::int64_t each;  // from filter to filter

  TENON_MEMBER Terms of(std::int64_t k) const { return {terms.at + k * each, terms.dz + k * each}; }
};
/// What a thread works with.
struct ListScratch {
  FilterLists lists;
  LiveRow row;
  std::int32_t *filter, *at;  // the terms of a row of positions
  float* dz;
};
ListScratch list_scratch(const ConvGeometry& g, float* from) {
  // A filter has one live term a window at most.
  const std::int64_t each = std::int64_t{g.ph} * g.pw + list_slack, row = std::int64_t{g.pw} * g.k + list_slack;
  const auto take = [&](std::int64_t floats) {
    float* at = from;
    from += floats;
    return at;
  };
  const auto take_ints = [&](std::int64_t ints) { return reinterpret_cast<std::int32_t*>(take(ints)); };
  ListScratch s{};
  s.lists = {{take_ints(each * g.k), take(each * g.k)}, take_ints(g.k), each};
  s.filter = take_ints(row);
  s.at = take_ints(row);
  s.dz = take(row);
  s.row = live_row(g, from);
  return s;
}

/// Lists the terms of the filters `which`, row of positions by row of positions.
void list_terms(const Conv2dPlan& p, const PooledGradient& dz, Range which, const ListScratch& s) {
  const ConvGeometry& g = p.g;
  const std::int32_t next = g.stride_w * g.c, line = g.stride_h * p.padded_w * g.c;
  for (std::int64_t k = which.begin; k < which.end; ++k) s.lists.count[k] = 0;
  for (std::int64_t y = 0; y < g.ph; ++y) {
    list_row(g, dz, y, which, 1, s.row);
    for (std::int32_t below = 0; below < 2; ++below) {
      std::int64_t count = 0;
      std::int32_t first = (2 * static_cast<std::int32_t>(y) + below) * line;
      for (std::int64_t x = 0; x < g.pw; ++x, first += 2 * next)
        pick_terms(s.row, x, 2, 2 * below, [&](Vi code, Vf value, LaneSet set) {
          append(s.filter + count, code >> 2, set);
          append(s.at + count, (code & 1) * next + first, set);
          append(s.dz + count, value, set);
          count += __builtin_popcount(set);
        });
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t k = s.filter[i], end = s.lists.count[k];
        const std::int64_t to = k * s.lists.each + end;
        s.lists.terms.at[to] = s.at[i];
        s.lists.terms.dz[to] = s.dz[i];
        s.lists.count[k] = end + 1;
      }
    }
  }
}

/// Adds one image to the partial sums [k][kh][kw c], then of the bias, by channel lists; filters `which`.
void add_by_channel(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, Range which,
                    const ListScratch& s, float* partial) {
  const ConvGeometry& g = p.g;
  list_terms(p, pooled_gradient(g, call, n), which, s);
  const std::int64_t row = std::int64_t{g.kw} * g.c, line = std::int64_t{p.padded_w} * g.c,
                     vectors = blocks_of(row, width), last = row - (vectors - 1) * width;
  for (std::int64_t k = which.begin; k < which.end; ++k) {
    const Terms list = s.lists.of(k);
    const std::int64_t count = s.lists.count[k];
    for (std::int64_t r = 0; r < g.kh; r += walk_rows)
      for (std::int64_t v = 0; v < vectors; v += walk_vectors) {
        const std::int64_t height = smaller(walk_rows, g.kh - r), across = smaller(walk_vectors, vectors - v);
        const bool partial_vector = last < width && v + across == vectors;
        walk_of(height, across,
                partial_vector)({list, count, image + r * g.dilation_h * line + v * width, g.dilation_h * line,
                                 partial + (k * g.kh + r) * row + v * width, row, last});
      }
    if (!g.bias) continue;
    float sum = partial[bias_at(p) + k];
    for (std::int64_t i = 0; i < count; ++i) sum += list.dz[i];
    partial[bias_at(p) + k] = sum;
  }
}

}  // namespace

void conv2d_grad_filter(const Call& call) {
  const auto& p = geometry<Conv2dPlan>(call);
  const ConvGeometry& g = p.g;
  auto* work = static_cast<float*>(call.workspace);
  const float* x = input<float>(call, 1);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), terms = terms_of(p);
  float* partials = work + p.partial_at;
  float* gfilter = output<float>(call, 0);
  const std::int32_t threads = team_size(call, p);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* scratch = work + p.scratch_at + omp_get_thread_num() * p.scratch_each;
    const ListScratch lists = list_scratch(g, scratch + padded_floats(p));
    clear_partials(partials, p.partial_each, groups);
    // A sample group is one chain; where groups are few, its filters are shared out as well.
    const std::int64_t team = omp_get_num_threads(),
                       parts = team == 1 || groups >= 4 * team ? 1 : smaller(g.k, blocks_of(4 * team, groups));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < groups * parts; ++i) {
      const std::int64_t s = i / parts;
      float* partial = partials + s * p.partial_each;
      const Range which = part(g.k, i % parts, parts);
      for (std::int64_t n = s * order::sample_group; n < smaller(g.n, (s + 1) * order::sample_group); ++n) {
        const float* image = padded_image(p, x, n, scratch);
        add_by_channel(p, call, image, n, which, lists, partial);
      }
    }
    join_partials(partials, p.partial_each, groups);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < terms; ++t)
      for (std::int64_t k = 0; k < g.k; ++k) gfilter[t * g.k + k] = partials[k * terms + t];
  }
  if (g.bias) std::memcpy(output<float>(call, 1), partials + bias_at(p), static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
