// conv2d_bf16: y = epilogue(correlation of x (n,h,w,c) with filter (kh,kw,c,k)), both rounded to bf16; of split operands
// (precision tf32) both halves are multiplied (bf16_pack.hpp).
// Layout: an image becomes bf16 once, channels padded to a multiple of 32, as phases of the stride (Bf16Conv). Pixels
// are then rows of a tile as they lie: a tile takes 16 neighbouring positions and 32 channels of one tap, over the ends
// of rows. The filter is packed as panels of 32 filters, [taps][32 channels][half][16 filters][tile].
// Few channels (a colour image): a row of the filter is one tap, and the terms of a position are the neighbouring numbers
// of kw pixels. What a tile takes beyond them meets zeros of the filter, so that a pixel that is not finite may reach
// outputs whose windows end just before it.
// The sums of a block of rows wait in L2 for bias, activation and pool, as in conv2d_direct.
// Parallel: bf16_image.hpp.
// Order: one chain per output over (kh, kw, c) ascending, 32 terms at a time, no chunks.
// Error: (rounding + (terms + 1) * 2^-24) * sum |x w| at most, before the activation, where rounding is 2 * 2^-8, and
// 3 * 2^-16 of split numbers.
#include <omp.h>

#include "kernels/cpu/micro/bf16_image.hpp"
#include "kernels/cpu/micro/conv2d_store.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Line y of the padded image n.
template <bool split>
TENON_INLINE void pack_line(const Bf16Conv& p, const float* x, std::int64_t n, std::int64_t y, float* line, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t from = y - g.pad_top;
  const bool inside = from >= 0 && from < g.h;
  const float* pixels = x + (n * g.h + from) * g.w * g.c;
  const std::int64_t left = g.pad_left, columns = smaller(g.w, p.conv.padded_w - left);
  if (p.rows_as_terms) {
    if (inside)
      place_row(pixels, columns * g.c, left * g.c, p.row, line);
    else
      clear_floats(line, p.row);
    round_row<Upper>(line, p.row, to + y * p.row, p.row);
    if constexpr (split) round_row<Lower>(line, p.row, to + y * p.row + p.lower, p.row);
    return;
  }
  // Column x of the image is column left + x of the padded one; every stride_w-th is in one phase.
  for (std::int64_t rx = 0; rx < g.stride_w; ++rx) {
    const Range there{blocks_of(larger(left - rx, 0), g.stride_w),
                      inside ? smaller(blocks_of(left + columns - rx, g.stride_w), p.line) : 0};
    const std::int64_t first = there.begin * g.stride_w + rx - left;
    pack_positions<split>(p, pixels + first * g.c, std::int64_t{g.stride_w} * g.c, g.c, there,
                          to + offset_of(p, y, rx));
  }
}

/// A panel of filters.
template <bool split>
TENON_INLINE void pack_filters(const Bf16Conv& p, const float* filter, std::int64_t q, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t k = q * block_side, columns = smaller(block_side, g.k - k),
                     terms = std::int64_t{g.c} * (p.rows_as_terms ? g.kw : 1);
  for (std::int64_t t = 0; t < p.taps; ++t)
    to = pack_right<split>(filter + t * terms * g.k + k, terms, g.k, columns, 1, to);
}

/// Units of y (rows, or the two rows of a pooled one), 32 filters.
template <bool split>
void run_units(const Bf16Conv& p, const Call& call, const Scratch& scratch, const RowBlock& block, std::int64_t q,
               const Bf16* image, const Bf16* filters, float* y, bool past_caches) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t rows = g.pool ? 2 : 1, first = block.rows.begin * rows, count = block.rows.size() * rows,
                     k = q * block_side, columns = smaller(block_side, g.k - k), line = p.pitch * block_side,
                     output_row = p.rows_as_terms ? g.stride_h * p.row : p.row;
  const Stretch stretch{image + first * output_row, scratch.taps, p.taps, filters, columns};
  const std::int64_t unit = block.image * g.ph + block.rows.begin;
  // All sums of some rows, which go on to `store(u)` unit by unit as they come.
  const auto sum_up = [&](const auto& store) {
    if (p.rows_as_terms) {
      for (std::int64_t r = 0; r < count; ++r) {
        Stretch row = stretch;
        row.first += r * output_row;
        convolve<split>(p, row, g.ow, scratch.sums + r * line, [](std::int64_t) {});
        if (r % rows == rows - 1) store(r / rows);
      }
      return;
    }
    std::int64_t stored = 0, end = (rows - 1) * p.line + g.ow;
    convolve<split>(p, stretch, (count - 1) * p.line + g.ow, scratch.sums, [&](std::int64_t there) {
      for (; stored < block.rows.size() && end <= there; ++stored, end += rows * p.line) store(stored);
    });
  };
  if (g.pool)
    return sum_up([&](std::int64_t u) {
      store_unit(p.conv, call, {scratch.sums + u * rows * line, block_side, line}, unit + u, k, columns);
    });
  const float* bias = g.bias ? input<float>(call, 2) + k : nullptr;
  pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, [&](const auto& f) {
    sum_up([&](std::int64_t r) {
      store_pixels(scratch.sums + r * line, block_side, g.ow, columns, y + (unit + r) * g.ow * g.k + k, g.k, bias,
                   past_caches, f);
    });
  });
}

template <bool split>
void conv2d(const Call& call) {
  const auto& p = geometry<Bf16Conv>(call);
  const ConvGeometry& g = p.conv.g;
  const float *x = input<float>(call, 0), *filter = input<float>(call, 1);
  float* y = output<float>(call, 0);
  const bool past_caches = may_pass(p.past_caches, y);
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Range who{omp_get_thread_num(), omp_get_num_threads()};
    const Scratch scratch = scratch_of(p, call, who.begin);
    for (std::int64_t t = 0; t < p.taps; ++t)
      scratch.taps[t] =
          p.rows_as_terms ? t * g.dilation_h * p.row : offset_of(p, t / g.kw * g.dilation_h, t % g.kw * g.dilation_w);
    run_images(
        p, call, who, p.conv.padded_h, g.ph,
        [&](std::int64_t n, std::int64_t line, Bf16* to) { pack_line<split>(p, x, n, line, scratch.line, to); },
        [&](std::int64_t q, Bf16* to) { pack_filters<split>(p, filter, q, to); },
        [&](const RowBlock& block, std::int64_t q, const Bf16* image, const Bf16* filters) {
          run_units<split>(p, call, scratch, block, q, image, filters, y, past_caches);
        },
        [&](const RowBlock& block) {
          for (std::int64_t unit = block.rows.begin; unit < block.rows.end; ++unit)
            finish_unit(p.conv, call, block.image * g.ph + unit);
        });
    settle(past_caches);
  }
}

}  // namespace

void bf16_conv2d(const Call& call) { conv2d<false>(call); }
void split_conv2d(const Call& call) { conv2d<true>(call); }

}  // namespace tenon::cpu::TENON_ISA
