// Bands: how a convolution is cut where a block keeps the lines of its images in shared memory. Lines of all images stand on one
// stack, each with its padding above and below, so that a band, some lines of the result, reaches lines that follow each other:
// those of a part of an image, or of several small ones.
//
// The source of a forward pass is x; that of an input gradient of stride 1 is dz, of which gx is the convolution with the filter
// turned round: pads (kh - 1) dilation - pad, which may be negative.
//
// A unit is a pixel of the result, or a cell of the pool behind it. Pixels of a line lie in shared memory in classes, by their
// column modulo the step from unit to unit: units that are neighbours then read pixels that are neighbours, whatever the stride, and
// a tap is one offset (two under a pool: of the left and of the right positions of a cell).
#pragma once
#include <algorithm>

#include "kernels/common/conv_geometry.hpp"
#include "kernels/cuda/divider.cuh"

namespace tenon::cuda {

struct Bands {
  std::int64_t n;                  // images
  std::int32_t h, w, c;            // of the source
  std::int32_t pad_top, pad_left;  // of the source
  std::int32_t kh, kw, stride_h, stride_w, dilation_h, dilation_w;
  bool pool;                        // units are cells
  std::int32_t rows, units;         // of an image of the result, and of one of its lines
  std::int32_t columns;             // channels of the result
  std::int32_t step_h, step_w;      // lines and pixels of the source from one unit to the next
  std::int32_t window_h;            // lines that a unit reaches
  std::int32_t height, width;       // of an image on the stack
  std::int32_t apart, slots;        // pixels of a class, and of a line with what fills up its classes
  std::int32_t line = 0, band = 0;  // words of a line in shared memory; lines of the result that a block has
  Divider by_units, by_rows, by_height, by_apart, by_step;

  /// Which column of the source, counted from the first of the padding, a line in shared memory has at a place.
  [[nodiscard]] __device__ std::int32_t column_of(std::int32_t slot) const {
    const std::int32_t rest = by_apart.quotient(slot);
    return (slot - rest * apart) * step_w + rest;
  }
  /// Where the first tap of a line of the result lies on the stack.
  [[nodiscard]] __device__ std::int32_t stack_line(std::int32_t row) const {
    const std::int32_t image = by_rows.split(row);
    return image * height + row * step_h;
  }
};

/// What the extents of source and result imply.
inline Bands complete(Bands b) {
  const std::int32_t twice = b.pool ? 2 : 1;
  b.step_h = b.stride_h * twice;
  b.step_w = b.stride_w * twice;
  b.window_h = (twice - 1) * b.stride_h + (b.kh - 1) * b.dilation_h + 1;
  b.height = (b.rows - 1) * b.step_h + b.window_h;
  b.width = (b.units - 1) * b.step_w + (twice - 1) * b.stride_w + (b.kw - 1) * b.dilation_w + 1;
  b.apart = (b.width + b.step_w - 1) / b.step_w;
  b.slots = b.apart * b.step_w;
  b.by_units = Divider(b.units);
  b.by_rows = Divider(b.rows);
  b.by_height = Divider(b.height);
  b.by_apart = Divider(b.apart);
  b.by_step = Divider(b.step_w);
  return b;
}

/// The forward pass.
inline Bands forward_bands(const ConvGeometry& g) {
  return complete({.n = g.n,
                   .h = g.h,
                   .w = g.w,
                   .c = g.c,
                   .pad_top = g.pad_top,
                   .pad_left = g.pad_left,
                   .kh = g.kh,
                   .kw = g.kw,
                   .stride_h = g.stride_h,
                   .stride_w = g.stride_w,
                   .dilation_h = g.dilation_h,
                   .dilation_w = g.dilation_w,
                   .pool = g.pool,
                   .rows = g.ph,
                   .units = g.pw,
                   .columns = g.k});
}

/// The input gradient, of stride 1.
inline Bands grad_input_bands(const ConvGeometry& g) {
  return complete({.n = g.n,
                   .h = g.oh,
                   .w = g.ow,
                   .c = g.k,
                   .pad_top = (g.kh - 1) * g.dilation_h - g.pad_top,
                   .pad_left = (g.kw - 1) * g.dilation_w - g.pad_left,
                   .kh = g.kh,
                   .kw = g.kw,
                   .stride_h = 1,
                   .stride_w = 1,
                   .dilation_h = g.dilation_h,
                   .dilation_w = g.dilation_w,
                   .pool = false,
                   .rows = g.h,
                   .units = g.w,
                   .columns = g.c});
}

inline constexpr std::int32_t most_band_taps = 64;

/// True where lines in shared memory are worth having: taps share them, numbers are read by fours, and there are channels enough for a
/// product of their own.
inline bool takes_bands(const ConvGeometry& g) {
  constexpr std::int64_t most = std::int64_t{1} << 30;
  const std::int64_t lines = std::int64_t{std::max(g.h, g.oh)} + 2 * std::int64_t{g.kh} * g.dilation_h;
  return g.groups == 1 && g.kh * g.kw >= 4 && g.kh * g.kw <= most_band_taps && g.c >= 8 && g.c % 4 == 0 && g.k >= 8 &&
         g.k % 4 == 0 && g.n > 0 && g.ph > 0 && g.pw > 0 && g.n * lines < most;
}
inline bool takes_forward_bands(const ConvGeometry& g) { return takes_bands(g); }
inline bool takes_grad_input_bands(const ConvGeometry& g) {
  return takes_bands(g) && g.stride_h == 1 && g.stride_w == 1 && (!g.pool || g.mask);
}

/// Lines of the stack that a band of `band` lines of the result reaches, wherever it begins.
inline std::int64_t band_height(const Bands& b, std::int32_t band) {
  // Bands that are whole images or equal parts of one cross no more boundaries than they must.
  const std::int32_t crossed = band % b.rows == 0   ? band / b.rows - 1
                               : b.rows % band == 0 ? 0
                                                    : (band - 1 + b.rows - 1) / b.rows;
  const std::int32_t more = b.height - b.rows * b.step_h;
  return std::int64_t{band - 1} * b.step_h + std::int64_t{crossed} * std::max(more, 0) + b.window_h;
}

/// Chooses `line` and `band` for blocks of at most so many units, lines in so many words, and pixels of `pitch` words. False: not
/// even a line of the result fits.
inline bool choose_band(Bands& b, std::int32_t most_units, std::int32_t words, std::int32_t pitch) {
  const std::int64_t line = std::int64_t{b.slots} * pitch;
  if (line > words || b.units > most_units) return false;
  b.line = static_cast<std::int32_t>(line);
  // Eight units that the end of a line parts shall lie in different banks, like others.
  for (std::int32_t padding = 0; padding < 32; padding += 4)
    if ((b.step_h * (b.line + padding) - b.units * pitch) % 32 == 0) {
      b.line += padding;
      break;
    }
  const auto fits = [&](std::int32_t band) { return band_height(b, band) * b.line <= words; };
  const std::int64_t all = b.n * b.rows;
  auto band = static_cast<std::int32_t>(std::min<std::int64_t>(most_units / b.units, std::max<std::int64_t>(all, 1)));
  // As even as may be, and better whole images.
  const auto evenly = [&](std::int32_t most) {
    const std::int64_t blocks = (all + most - 1) / most;
    return static_cast<std::int32_t>((all + blocks - 1) / std::max<std::int64_t>(blocks, 1));
  };
  if (all > 0) band = evenly(band);
  if (const std::int32_t whole = band - band % b.rows; whole > 0 && whole >= band - band / 8) band = whole;
  while (band > 1 && !fits(band)) --band;
  b.band = band;
  return fits(band);
}

/// True where blocks of so many columns occupy a large GPU, or nothing would: a product of few sums is cut finer elsewhere.
inline bool bands_fill(const Bands& b, std::int32_t columns) {
  const auto parts = [](std::int64_t n, std::int64_t part) { return (n + part - 1) / part; };
  const std::int64_t sums = b.n * b.rows * b.units * (b.pool ? 4 : 1);
  const std::int64_t blocks = parts(b.n * b.rows, b.band) * parts(b.columns, columns);
  return blocks >= 64 || parts(sums, 32) * parts(b.columns, 32) < 512;
}

}  // namespace tenon::cuda
