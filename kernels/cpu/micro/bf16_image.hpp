// Images of bf16 for the convolutions, packed filters, and the one loop that both directions share: positions of some
// rows times 32 filters.
#pragma once
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/bf16_block.hpp"
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the pixel (y, x) of the padded image is read by the output (0, 0), in positions.
TENON_INLINE std::int64_t position_of(const Bf16Conv& p, std::int64_t y, std::int64_t x) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t phase = y % g.stride_h * g.stride_w + x % g.stride_w;
  return (phase * p.lines + y / g.stride_h) * p.line + x / g.stride_w;
}

/// Image n of x with its padding, as phases of (position, depth). Positions that no output reads stay as they are.
TENON_INLINE void pack_image(const Bf16Conv& p, const float* x, std::int64_t n, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const float* image = x + n * g.h * g.w * g.c;
  if (p.conv.padded) std::memset(to, 0, static_cast<std::size_t>(p.image) * sizeof(Bf16));
  const std::int64_t rows = smaller(g.h, p.conv.padded_h - g.pad_top),
                     columns = smaller(g.w, p.conv.padded_w - g.pad_left);
  for (std::int64_t y = 0; y < rows; ++y) {
    const float* from = image + y * g.w * g.c;
    const auto at = [&](std::int64_t column) {
      return to + position_of(p, y + g.pad_top, column + g.pad_left) * p.depth;
    };
    if (g.stride_w == 1 && g.c == p.depth)
      round_row(from, columns * g.c, at(0), columns * g.c);
    else
      for (std::int64_t column = 0; column < columns; ++column)
        round_row(from + column * g.c, g.c, at(column), p.depth);
  }
}

/// Of one tap: `columns` (at most 32) by all channels, [steps][16 columns][tile]. The element (channel, column) lies at
/// `from + channel * channel_step + column * column_step`; one of the steps is 1.
TENON_INLINE Bf16* pack_tap(const float* from, std::int64_t channels, std::int64_t channel_step, std::int64_t columns,
                            std::int64_t column_step, Bf16* to) {
  for (std::int64_t k = 0; k < channels; k += tile_terms)
    for (std::int64_t j0 = 0; j0 < columns; j0 += tile_columns, to += tile_bf16s) {
      const std::int64_t there = columns - j0, count = channels - k;
      const float* corner = from + k * channel_step + j0 * column_step;
      if (column_step == 1) {
        const auto row = [&](std::int64_t t) { return t < count ? corner + t * channel_step : nullptr; };
        for (std::int64_t t = 0; t < tile_terms; t += 2)
          pair_rows(row(t), row(t + 1), there, to + t * tile_columns, tile_columns);
        continue;
      }
      for (std::int64_t j = 0; j < tile_columns; j += width)
        for (std::int64_t t = 0; t < tile_terms; t += 2 * width)
          turn_pairs(corner + j * column_step + t, column_step, there - j, count - t, to + t * tile_columns + 2 * j,
                     2 * tile_columns);
    }
  return to;
}

/// z (positions, 32) = pixels of an image times one panel of filters, packed, `columns` of it.
struct Stretch {
  const Bf16* first;         // the pixel that the first position and the first tap read
  const std::int64_t* taps;  // in bf16s
  std::int64_t tap_count;
  const Bf16* filters;
  std::int64_t columns;
};
TENON_INLINE void convolve(const Bf16Conv& p, const Stretch& s, std::int64_t positions, float* z) {
  const std::int64_t across = s.columns > tile_columns ? 2 : 1;
  for (std::int64_t at = 0; at < positions; at += block_side)
    multiply_block({s.first + at * p.depth, p.depth, tile_rows * p.depth, tile_terms, s.taps, s.tap_count,
                    p.depth / tile_terms, s.filters, across * tile_bf16s, z + at * block_side, false},
                   smaller(block_side, positions - at), s.columns);
}

/// Rows of one image that are worked on together.
struct RowBlock {
  std::int64_t image;
  Range rows;
};
/// Block `i` of all, where an image has `rows` rows.
TENON_INLINE std::int64_t row_blocks(const Bf16Conv& p, std::int64_t rows) { return blocks_of(rows, p.rows_block); }
TENON_INLINE RowBlock row_block(const Bf16Conv& p, std::int64_t rows, std::int64_t i) {
  const std::int64_t each = row_blocks(p, rows), first = i % each * p.rows_block;
  return {i / each, {first, smaller(first + p.rows_block, rows)}};
}

/// A thread's scratch.
struct Scratch {
  Bf16* image;
  float *line, *sums;
  std::int64_t* taps;
};
TENON_INLINE Scratch scratch_of(const Bf16Conv& p, const Call& call, std::int64_t thread) {
  float* own = static_cast<float*>(call.workspace) + p.conv.scratch_at + thread * p.conv.scratch_each;
  return {reinterpret_cast<Bf16*>(own + p.image_at), own + p.line_at, own + p.sums_at,
          reinterpret_cast<std::int64_t*>(own + p.taps_at)};
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
