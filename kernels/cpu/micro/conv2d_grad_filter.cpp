// conv2d_grad_filter: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), and gbias(k) = sum of dz,
// where dz undoes the epilogue of a pooled convolution.
// Layout: each k has a list of its live positions; the gradients of that k, (kh,kw,c), stay in registers while the list is
// walked. A dead term costs nothing. Where all are alive: conv2d_grad_filter_dense, the same bits. Every list leads
// through all of x; so an image is taken in bands of rows (bind_contractions.cpp), and x of a band stays near while the
// lists of all k are walked.
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

/// A live term of a filter: where its window of x begins, and dz.
struct Term {
  std::int32_t at;
  float dz;
};

/// The lists of all filters: that of k is [terms + k * each, terms + end[k]).
struct Lists {
  Term* terms;
  std::int64_t* end;
  std::int64_t each;
};
/// For every filter to(rows, vectors) += dz * x over its list; the last vector of a row has `last` floats where it is
/// partial. x rows are `x_row` floats apart, those of `to` `to_row`, and filters `to_each`.
struct WalkArgs {
  Lists lists;
  Range filters;
  const float* x;
  std::int64_t x_row;
  float* to;
  std::int64_t to_row, to_each, last;
};
template <int rows, int vectors, bool partial>
void walk(const WalkArgs& a) {
  const std::int64_t last = a.last, x_row = a.x_row, to_row = a.to_row;
  const auto load = [&](const float* p, int v) {
    return partial && v + 1 == vectors ? Simd::load_n(p + v * width, last) : Simd::load(p + v * width);
  };
  for (std::int64_t k = a.filters.begin; k < a.filters.end; ++k) {
    const Term *t = a.lists.terms + k * a.lists.each, *end = a.lists.terms + a.lists.end[k];
    float* to = a.to + k * a.to_each;
    Vf acc[rows][vectors];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = load(to + r * to_row, v);
    for (; t < end; ++t) {
      const float* x = a.x + t->at;
      const Vf dz = Simd::set(t->dz);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::fma(dz, load(x + r * x_row, v), acc[r][v]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        float* p = to + r * to_row + v * width;
        if (partial && v + 1 == vectors)
          Simd::store_n(p, acc[r][v], last);
        else
          Simd::store(p, acc[r][v]);
      }
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

/// The live terms of one row of positions: filter, and in the upper half the column; and dz.
struct RowList {
  std::int32_t* code;
  float* dz;
  std::int64_t count;
};
TENON_INLINE void put(RowList& to, Vi code, Vf dz, LaneSet set) {
  append(to.code + to.count, code, set);
  append(to.dz + to.count, dz, set);
  to.count += __builtin_popcount(set);
}
/// What a thread works with.
struct Scratch {
  Lists lists;
  RowList upper, lower;
};
Scratch scratch_in(const Conv2dPlan& p, float* from) {
  // A filter has one live term a window at most.
  const std::int64_t each = p.unit_block * p.g.pw, row = std::int64_t{p.g.pw} * p.g.k + list_slack;
  const auto take = [&](std::int64_t floats) {
    float* at = from;
    from += floats;
    return at;
  };
  const auto take_row = [&] { return RowList{reinterpret_cast<std::int32_t*>(take(row)), take(row), 0}; };
  auto* terms = reinterpret_cast<Term*>(take(2 * each * p.g.k));
  auto* end = reinterpret_cast<std::int64_t*>(take(2 * std::int64_t{p.g.k}));
  return {{terms, end, each}, take_row(), take_row()};
}

/// Lists the terms of row y of windows: those of its upper positions, and those of its lower ones.
TENON_INLINE void list_rows(const ConvGeometry& g, PooledGradient dz, std::int64_t y, Range filters, RowList& above,
                            RowList& below) {
  const Vi number = Simd::lane_index();
  const Vf scale = Simd::set(dz.scale);
  RowList upper = above, lower = below;
  upper.count = lower.count = 0;
  const std::int64_t windows = g.pw, of_a_window = g.k;
  for (std::int64_t x = 0; x < windows; ++x) {
    const std::int64_t at = (y * windows + x) * of_a_window + filters.begin;
    for_each_lanes(filters.size(), [&](std::int64_t k, auto lanes) {
      const auto [winner, live] = winners(dz.mask + at + k, lanes);
      const Vf value = lanes.load(dz.gy + at + k) * scale;
      const Vi code = number + static_cast<std::int32_t>((x << 17) + filters.begin + k) + ((winner & 1) << 16);
      const auto up = static_cast<LaneSet>(live & lanes_equal(winner & 2, Vi{}));
      put(upper, code, value, up);
      put(lower, code, value, static_cast<LaneSet>(live & ~up));
    });
  }
  above.count = upper.count;
  below.count = lower.count;
}

/// Lists the terms of the filters `which` in the rows `band` of windows, and adds them to the sums of the bias, if any.
void list_terms(const Conv2dPlan& p, PooledGradient dz, Range band, Range which, Scratch s, float* bias) {
  const ConvGeometry g = p.g;
  const std::int64_t next = std::int64_t{g.stride_w} * g.c, line = std::int64_t{g.stride_h} * p.padded_w * g.c;
  for (std::int64_t k = which.begin; k < which.end; ++k) s.lists.end[k] = k * s.lists.each;
  const auto scatter = [&](RowList row, std::int64_t first) {
    for (std::int64_t i = 0; i < row.count; ++i) {
      const std::int64_t code = row.code[i], k = code & 0xFFFF, end = s.lists.end[k];
      s.lists.terms[end] = {static_cast<std::int32_t>(first + (code >> 16) * next), row.dz[i]};
      s.lists.end[k] = end + 1;
      if (bias != nullptr) bias[k] += row.dz[i];
    }
  };
  for (std::int64_t y = band.begin; y < band.end; ++y) {
    list_rows(g, dz, y, which, s.upper, s.lower);
    scatter(s.upper, 2 * y * line);
    scatter(s.lower, (2 * y + 1) * line);
  }
}

/// Adds one image to the partial sums [k][kh][kw c], then of the bias; filters `which`.
void add_image(const Conv2dPlan& p, const Call& call, const float* image, std::int64_t n, Range which, const Scratch& s,
               float* partial) {
  const ConvGeometry& g = p.g;
  const PooledGradient dz = pooled_gradient(g, call, n);
  const std::int64_t row = std::int64_t{g.kw} * g.c, line = std::int64_t{p.padded_w} * g.c * g.dilation_h,
                     vectors = blocks_of(row, width), last = row - (vectors - 1) * width;
  for (std::int64_t y = 0; y < g.ph; y += p.unit_block) {
    list_terms(p, dz, {y, smaller(g.ph, y + p.unit_block)}, which, s, g.bias ? partial + bias_at(p) : nullptr);
    for (std::int64_t r = 0; r < g.kh; r += walk_rows)
      for (std::int64_t v = 0; v < vectors; v += walk_vectors) {
        const std::int64_t across = smaller(walk_vectors, vectors - v);
        const Walk window = walk_of(smaller(walk_rows, g.kh - r), across, last < width && v + across == vectors);
        window({s.lists, which, image + r * line + v * width, line, partial + r * row + v * width, row, terms_of(p),
                last});
      }
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
    const Scratch lists = scratch_in(p, scratch + (padded_floats(p) + 1) / 2 * 2);
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
        add_image(p, call, image, n, which, lists, partial);
      }
    }
    join_partials(partials, p.partial_each, groups);
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < blocks_of(terms, width); ++block) {
      const std::int64_t t = block * width;
      std::int64_t k = 0;
      if (t + width <= terms)
        for (; k + width <= g.k; k += width)
          transpose_square(partials + k * terms + t, terms, width, gfilter + t * g.k + k, g.k);
      for (; k < g.k; ++k)
        for (std::int64_t i = t; i < smaller(terms, t + width); ++i) gfilter[i * g.k + k] = partials[k * terms + i];
    }
  }
  if (g.bias) std::memcpy(output<float>(call, 1), partials + bias_at(p), static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
