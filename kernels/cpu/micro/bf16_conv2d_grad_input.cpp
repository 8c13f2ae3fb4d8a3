// conv2d_grad_input_bf16: where every term is alive, the convolution of dz with the filter turned around, both rounded
// to bf16, or both halves of each (precision tf32, bf16_pack.hpp); dz is undone in fp32 before.
// gx(iy,ix,c) = sum over the taps that reach it, (oy, ox, k) ascending, of dz(oy,ox,k) filter(kh,kw,c,k). With a stride,
// classes of pixels as in conv2d_grad_input_dense.
// Layout: dz of an image as bf16 with zeros around it, filters padded to a multiple of 32: its pixels are rows of a tile.
// The filter is packed per panel of 32 channels and class as [taps descending][32 filters][half][16 channels][tile].
// Parallel: bf16_image.hpp.
// Order: one chain per gx, 32 filters at a time, no chunks.
// Error: (rounding + terms * 2^-24) * sum |dz w| at most, where rounding is 2 * 2^-8, and 3 * 2^-16 of split numbers.
#include <omp.h>

#include "kernels/cpu/micro/bf16_image.hpp"
#include "kernels/cpu/micro/conv2d_classes.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Line `y` of dz of image n with zeros around it; `line` has room for it.
template <bool split>
TENON_INLINE void pack_line(const Bf16Conv& p, const Call& call, std::int64_t n, std::int64_t y, float* line,
                            Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const DzFrame& f = p.conv.dz;
  const std::int64_t oy = f.top + y;
  const Range columns{larger(f.left, 0), smaller(f.left + f.w, g.ow)};
  const bool inside = oy >= 0 && oy < g.oh && columns.size() > 0;
  const float* dz = nullptr;
  if (inside) {
    const std::int64_t at = ((n * g.oh + oy) * g.ow + columns.begin) * g.k;
    const PrologueGeometry undo = prologue_of(g);
    dz = input<float>(call, 0) + at;
    if (undo.any) {
      undo_elements(undo, call, at, columns.size() * g.k, line);
      dz = line;
    }
  }
  pack_positions<split>(p, dz, g.k, g.k, inside ? Range{columns.begin - f.left, columns.end - f.left} : Range{0, 0},
                        to + y * p.row);
}

/// Panel `q` of all classes, one behind the other.
template <bool split>
TENON_INLINE void pack_classes(const Bf16Conv& p, const float* filter, std::int64_t q, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t c = q * block_side, columns = smaller(block_side, g.c - c);
  for_each_class(p.conv, [&](std::int64_t, std::int64_t, const Taps& h, const Taps& w, std::int64_t) {
    for (std::int64_t y = 0; y < h.count; ++y)
      for (std::int64_t x = 0; x < w.count; ++x) {
        const std::int64_t tap = (h.first - y * h.step) * g.kw + w.first - x * w.step;
        to = pack_right<split>(filter + (tap * g.c + c) * g.k, g.k, 1, columns, g.k, to);
      }
  });
}

/// Some rows of gx of an image, one class and panel of them.
template <bool split>
TENON_INLINE void run_class(const Bf16Conv& p, const Scratch& scratch, const RowBlock& block, std::int64_t ry,
                            std::int64_t rx, const Taps& h, const Taps& w, std::int64_t c0, const Bf16* image,
                            const Bf16* filters, float* gx, bool past_caches) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t begin = blocks_of(block.rows.begin - ry, g.stride_h),
                     end = blocks_of(block.rows.end - ry, g.stride_h);
  if (begin >= end) return;
  const std::int64_t pixels = blocks_of(g.w - rx, g.stride_w), columns = smaller(block_side, g.c - c0),
                     count = h.count * w.count;
  for (std::int64_t t = 0; t < count; ++t)
    scratch.taps[t] = t / w.count * p.conv.dz.reach_h * p.row + t % w.count * p.conv.dz.reach_w * p.step;
  const auto at = [&](std::int64_t row) {
    return gx + ((block.image * g.h + row * g.stride_h + ry) * g.w + rx) * g.c + c0;
  };
  const std::int64_t step = std::int64_t{g.stride_w} * g.c;
  if (count == 0) {
    for (std::int64_t row = begin; row < end; ++row)
      for (std::int64_t px = 0; px < pixels; ++px) clear_floats(at(row) + px * step, columns);
    return;
  }
  convolve<split>(p,
                  {image + (begin + h.at - p.conv.dz.top) * p.row + (w.at - p.conv.dz.left) * p.step, scratch.taps,
                   count, filters, columns},
                  (end - begin - 1) * p.line + pixels, scratch.sums, [](std::int64_t) {});
  for (std::int64_t row = begin; row < end; ++row)
    store_pixels(scratch.sums + (row - begin) * p.line * block_side, block_side, pixels, columns, at(row), step,
                 nullptr, past_caches, pointwise::Identity<Simd>{});
}

template <bool split>
void conv2d_grad_input(const Call& call) {
  const auto& p = geometry<Bf16Conv>(call);
  const ConvGeometry& g = p.conv.g;
  const std::int64_t tap = right_step<split>(block_side) * (p.depth / tile_terms);
  float* gx = output<float>(call, 0);
  const bool past_caches = may_pass(p.past_caches, gx);
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Range who{omp_get_thread_num(), omp_get_num_threads()};
    const Scratch scratch = scratch_of(p, call, who.begin);
    run_images(
        p, call, who, p.lines, g.h,
        [&](std::int64_t n, std::int64_t line, Bf16* to) { pack_line<split>(p, call, n, line, scratch.line, to); },
        [&](std::int64_t q, Bf16* to) { pack_classes<split>(p, input<float>(call, 1), q, to); },
        [&](const RowBlock& block, std::int64_t q, const Bf16* image, const Bf16* filters) {
          // A last panel of 16 channels or less has smaller taps.
          const std::int64_t each = smaller(block_side, g.c - q * block_side) > tile_columns ? tap : tap / 2;
          for_each_class(p.conv,
                         [&](std::int64_t ry, std::int64_t rx, const Taps& h, const Taps& w, std::int64_t before) {
                           run_class<split>(p, scratch, block, ry, rx, h, w, q * block_side, image,
                                            filters + before * each, gx, past_caches);
                         });
        },
        [](const RowBlock&) {});
    settle(past_caches);
  }
}

}  // namespace

void bf16_conv2d_grad_input(const Call& call) { conv2d_grad_input<false>(call); }
void split_conv2d_grad_input(const Call& call) { conv2d_grad_input<true>(call); }

}  // namespace tenon::cpu::TENON_ISA
