// product              matmul and its gradients: one Eigen product a thread, over strips of the longer side of the
// output. conv2d               y tile = taps (tile, depth) filter (depth, k), taps gathered from x into the workspace.
// conv2d_grad_input    taps = gy tile filter^T, added back to the places in gx that they came from; threads own images.
// conv2d_grad_filter   sum of taps^T gy over tiles: a fixed number of partial sums, joined in order, so that the number
//                      of threads has no say in the result.
// Groups are products on slices of the channels. Tiles are sized so that the taps stay in a core's cache.
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

template <bool transpose_left, bool transpose_right>
void product_strips(const Call& call, const EigenProduct& g) {
  const float *left = input<float>(call, g.left), *right = input<float>(call, g.right);
  float* out = output<float>(call, 0);
  const std::int64_t left_pitch = transpose_left ? g.rows : g.depth, right_pitch = transpose_right ? g.depth : g.cols;
  const bool by_rows = g.rows >= g.cols;
  const std::int64_t extent = by_rows ? g.rows : g.cols;
  const std::int32_t threads = threads_for_products(call, g.rows * g.cols * g.depth);
  const std::int64_t strip = blocks_of(blocks_of(extent, threads), 16) * 16;
  parallel_for(threads, blocks_of(extent, strip), [&](std::int64_t s) {
    const std::int64_t begin = s * strip, count = smaller(strip, extent - begin);
    const auto a = in_matrix<transpose_left>(left, g.rows, g.depth, left_pitch);
    const auto b = in_matrix<transpose_right>(right, g.depth, g.cols, right_pitch);
    auto c = out_matrix(out, g.rows, g.cols, g.cols);
    if (by_rows)
      c.middleRows(begin, count).noalias() = a.middleRows(begin, count) * b;
    else
      c.middleCols(begin, count).noalias() = a * b.middleCols(begin, count);
  });
}

/// Where tap (i, first inside) of one output position lies, and how many taps of the row are inside.
struct Taps {
  TapRange kh, kw;
  std::int64_t origin;  // offset of tap (0, 0) in the image, which may be outside
};
TENON_INLINE Taps taps_at(const ConvGeometry& g, std::int32_t oy, std::int32_t ox) {
  const std::int32_t h0 = oy * g.stride_h - g.pad_top, w0 = ox * g.stride_w - g.pad_left;
  return {taps_inside(h0, g.kh, g.dilation_h, g.h), taps_inside(w0, g.kw, g.dilation_w, g.w),
          (std::int64_t{h0} * g.w + w0) * g.c};
}

/// body(offset in the image, offset in the row of taps, floats) for each contiguous run inside the image.
template <class Body>
TENON_INLINE void for_each_run(const ConvGeometry& g, const Taps& t, std::int64_t cg, const Body& body) {
  const bool whole_rows = g.groups == 1 && g.dilation_w == 1;
  for (std::int32_t i = t.kh.first; i < t.kh.last; ++i) {
    const std::int64_t image_row = t.origin + std::int64_t{i} * g.dilation_h * g.w * g.c;
    const std::int64_t taps_row = std::int64_t{i} * g.kw * cg;
    if (whole_rows) {
      body(image_row + t.kw.first * cg, taps_row + t.kw.first * cg, (t.kw.last - t.kw.first) * cg);
      continue;
    }
    for (std::int32_t j = t.kw.first; j < t.kw.last; ++j) {
      body(image_row + std::int64_t{j} * g.dilation_w * g.c, taps_row + j * cg, cg);
    }
  }
}

/// body(row of taps, image, taps) for the positions [begin, begin + count) of the flat (n, oh, ow).
template <class Body>
TENON_INLINE void for_each_position(const ConvGeometry& g, std::int64_t begin, std::int64_t count, const Body& body) {
  auto ox = static_cast<std::int32_t>(begin % g.ow);
  auto oy = static_cast<std::int32_t>(begin / g.ow % g.oh);
  std::int64_t image = begin / g.ow / g.oh;
  for (std::int64_t row = 0; row < count; ++row) {
    body(row, image, taps_at(g, oy, ox));
    if (++ox < g.ow) continue;
    ox = 0;
    if (++oy < g.oh) continue;
    oy = 0;
    ++image;
  }
}

void gather_taps(const EigenConv& e, const float* x, std::int32_t group, std::int64_t begin, std::int64_t count,
                 float* taps) {
  const ConvGeometry& g = e.conv;
  const std::int64_t cg = g.c / g.groups, image_elements = std::int64_t{g.h} * g.w * g.c;
  for_each_position(g, begin, count, [&](std::int64_t row, std::int64_t image, const Taps& t) {
    float* to = taps + row * e.depth;
    const float* from = x + image * image_elements + group * cg;
    const bool padded = t.kh.last - t.kh.first < g.kh || t.kw.last - t.kw.first < g.kw;
    if (padded) Out(to, e.depth).setZero();
    for_each_run(g, t, cg, [&](std::int64_t at, std::int64_t offset, std::int64_t floats) {
      Out(to + offset, floats) = In(from + at, floats);
    });
  });
}

void scatter_taps(const EigenConv& e, const float* taps, std::int32_t group, std::int64_t begin, std::int64_t count,
                  float* gx) {
  const ConvGeometry& g = e.conv;
  const std::int64_t cg = g.c / g.groups, image_elements = std::int64_t{g.h} * g.w * g.c;
  for_each_position(g, begin, count, [&](std::int64_t row, std::int64_t image, const Taps& t) {
    const float* from = taps + row * e.depth;
    float* to = gx + image * image_elements + group * cg;
    for_each_run(g, t, cg, [&](std::int64_t at, std::int64_t offset, std::int64_t floats) {
      Out(to + at, floats) += In(from + offset, floats);
    });
  });
}

/// The (count, depth) taps of a tile: gathered into `scratch`, or x itself.
TENON_INLINE InMatrix<> taps_of(const EigenConv& e, const float* x, std::int32_t group, std::int64_t begin,
                                std::int64_t count, float* scratch) {
  const ConvGeometry& g = e.conv;
  if (e.direct) return in_matrix(x + begin * g.c + group * (g.c / g.groups), count, e.depth, g.c);
  gather_taps(e, x, group, begin, count, scratch);
  return in_matrix(scratch, count, e.depth, e.depth);
}

TENON_INLINE std::int64_t positions(const ConvGeometry& g) { return g.n * g.oh * g.ow; }

TENON_INLINE std::int32_t conv_threads(const Call& call, const EigenConv& e) {
  const std::int32_t threads = threads_for_products(call, positions(e.conv) * e.depth * e.conv.k);
  return threads < e.teams ? threads : e.teams;
}

/// body(item, scratch) over [0, items), each thread a contiguous range and a scratch of its own.
template <class Body>
TENON_INLINE void for_each_item(const Call& call, const EigenConv& e, std::int64_t items, const Body& body) {
  const std::int32_t threads = conv_threads(call, e);
  const std::int64_t each = blocks_of(items, threads);
  parallel_for(threads, threads, [&](std::int64_t t) {
    float* scratch = static_cast<float*>(call.workspace) + (e.direct ? 0 : t * e.tile * e.depth);
    for (std::int64_t i = t * each; i < smaller((t + 1) * each, items); ++i) body(i, scratch);
  });
}

}  // namespace

void product(const Call& call) {
  const auto& g = geometry<EigenProduct>(call);
  if (g.transpose_left && g.transpose_right)
    product_strips<true, true>(call, g);
  else if (g.transpose_left)
    product_strips<true, false>(call, g);
  else if (g.transpose_right)
    product_strips<false, true>(call, g);
  else
    product_strips<false, false>(call, g);
}

void conv2d(const Call& call) {
  const auto& e = geometry<EigenConv>(call);
  const ConvGeometry& g = e.conv;
  const float *x = input<float>(call, 0), *filter = input<float>(call, 1);
  float* y = output<float>(call, 0);
  const std::int64_t all = positions(g), kg = g.k / g.groups;
  for_each_item(call, e, blocks_of(all, e.tile), [&](std::int64_t tile, float* scratch) {
    const std::int64_t begin = tile * e.tile, count = smaller(e.tile, all - begin);
    for (std::int32_t group = 0; group < g.groups; ++group) {
      const auto taps = taps_of(e, x, group, begin, count, scratch);
      out_matrix(y + begin * g.k + group * kg, count, kg, g.k).noalias() =
          taps * in_matrix(filter + group * kg, e.depth, kg, g.k);
    }
  });
}

void conv2d_grad_input(const Call& call) {
  const auto& e = geometry<EigenConv>(call);
  const ConvGeometry& g = e.conv;
  const float *gy = input<float>(call, 0), *filter = input<float>(call, 1);
  float* gx = output<float>(call, 0);
  const std::int64_t per_image = std::int64_t{g.oh} * g.ow, image_elements = std::int64_t{g.h} * g.w * g.c;
  const std::int64_t cg = g.c / g.groups, kg = g.k / g.groups;
  for_each_item(call, e, g.n, [&](std::int64_t image, float* scratch) {
    if (!e.direct) Out(gx + image * image_elements, image_elements).setZero();
    for (std::int64_t done = 0; done < per_image; done += e.tile) {
      const std::int64_t begin = image * per_image + done, count = smaller(e.tile, per_image - done);
      for (std::int32_t group = 0; group < g.groups; ++group) {
        const auto gradient = in_matrix(gy + begin * g.k + group * kg, count, kg, g.k);
        const auto transposed_filter = in_matrix<true>(filter + group * kg, kg, e.depth, g.k);
        float* to = e.direct ? gx + begin * g.c + group * cg : scratch;
        out_matrix(to, count, e.depth, e.direct ? g.c : e.depth).noalias() = gradient * transposed_filter;
        if (!e.direct) scatter_taps(e, scratch, group, begin, count, gx);
      }
    }
  });
}

void conv2d_grad_filter(const Call& call) {
  const auto& e = geometry<EigenConv>(call);
  const ConvGeometry& g = e.conv;
  const float *gy = input<float>(call, 0), *x = input<float>(call, 1);
  float* out = output<float>(call, 0);
  float* partials =
      e.parts == 1 ? out : static_cast<float*>(call.workspace) + (e.direct ? 0 : e.teams * e.tile * e.depth);
  const std::int64_t all = positions(g), kg = g.k / g.groups, elements = e.depth * g.k;
  const std::int64_t tiles = blocks_of(all, e.tile), each = blocks_of(tiles, e.parts);
  for_each_item(call, e, e.parts, [&](std::int64_t part, float* scratch) {
    float* partial = partials + part * elements;
    Out(partial, elements).setZero();
    for (std::int64_t tile = part * each; tile < smaller((part + 1) * each, tiles); ++tile) {
      const std::int64_t begin = tile * e.tile, count = smaller(e.tile, all - begin);
      for (std::int32_t group = 0; group < g.groups; ++group) {
        const auto taps = taps_of(e, x, group, begin, count, scratch);
        out_matrix(partial + group * kg, e.depth, kg, g.k).noalias() +=
            taps.transpose() * in_matrix(gy + begin * g.k + group * kg, count, kg, g.k);
      }
    }
  });
  if (e.parts == 1) return;
  for_each_block(call, elements, [&](std::int64_t begin, std::int64_t count) {
    Out sum(out + begin, count);
    sum = In(partials + begin, count);
    for (std::int32_t part = 1; part < e.parts; ++part) sum += In(partials + part * elements + begin, count);
  });
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
