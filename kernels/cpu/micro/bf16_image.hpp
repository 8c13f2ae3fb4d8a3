// Images of bf16 for the convolutions, and the loop that both directions share: positions of some rows times panels of 32
// packed filters (Bf16Conv).
// Parallel in one of two ways, so that the larger operand is packed where it is used:
//   by rows      the filters are packed once for all threads; each packs some images at a time, which stay in its L2.
//   by panels    images are packed once for all threads and stay in L2; each packs one panel of filters at a time and
//                passes it over all images.
#pragma once
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/bf16_operands.hpp"
#include "kernels/cpu/micro/conv2d.hpp"
#include "kernels/cpu/micro/store_out.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the pixel (y, x) of the padded image is read by the output (0, 0), in bf16s.
TENON_INLINE std::int64_t offset_of(const Bf16Conv& p, std::int64_t y, std::int64_t x) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t phase = y % g.stride_h * g.stride_w + x % g.stride_w;
  return (phase * p.lines + y / g.stride_h) * p.row + x / g.stride_w * p.step;
}

/// Positions [0, p.line) of a row: zero but for `there`, pixels of `channels` floats each, `from_step` apart.
template <class Half>
TENON_INLINE void pack_half(const Bf16Conv& p, const float* from, std::int64_t from_step, std::int64_t channels,
                            Range there, Bf16* to) {
  const auto clear = [&](std::int64_t begin, std::int64_t end) {
    if (begin < end)
      std::memset(to + begin * p.step, 0, static_cast<std::size_t>((end - begin) * p.step) * sizeof(Bf16));
  };
  if (there.size() <= 0) return clear(0, p.line);
  clear(0, there.begin);
  if (channels == p.step && from_step == channels)
    round_row<Half>(from, there.size() * channels, to + there.begin * p.step, there.size() * channels);
  else
    for (std::int64_t i = 0; i < there.size(); ++i)
      round_row<Half>(from + i * from_step, channels, to + (there.begin + i) * p.step, p.depth);
  clear(there.end, p.line);
}
template <bool split>
TENON_INLINE void pack_positions(const Bf16Conv& p, const float* from, std::int64_t from_step, std::int64_t channels,
                                 Range there, Bf16* to) {
  pack_half<Upper>(p, from, from_step, channels, there, to);
  if constexpr (split) pack_half<Lower>(p, from, from_step, channels, there, to + p.lower);
}

/// z (positions, 32) = pixels of an image times one panel of filters, packed, `columns` of it.
struct Stretch {
  const Bf16* first;         // the pixel that the first position and the first tap read
  const std::int64_t* taps;  // in bf16s
  std::int64_t tap_count;
  const Bf16* filters;
  std::int64_t columns;
};
/// ready(n): the first n positions are there, and the last ones of them in L1.
template <bool split, class Ready>
TENON_INLINE void convolve(const Bf16Conv& p, const Stretch& s, std::int64_t positions, float* z, const Ready& ready) {
  for (std::int64_t at = 0; at < positions; at += block_side) {
    multiply_block<split>({s.first + at * p.step, p.step, tile_rows * p.step, tile_terms, p.lower, s.taps, s.tap_count,
                           p.depth / tile_terms, s.filters, right_step<split>(s.columns), z + at * block_side, false},
                          smaller(block_side, positions - at), s.columns);
    ready(at + block_side);
  }
}

/// A thread's scratch.
struct Scratch {
  Bf16 *images, *filters;
  float *line, *sums;
  std::int64_t* taps;
};
TENON_INLINE Scratch scratch_of(const Bf16Conv& p, const Call& call, std::int64_t thread) {
  float* own = static_cast<float*>(call.workspace) + p.conv.scratch_at + thread * p.conv.scratch_each;
  return {reinterpret_cast<Bf16*>(own + p.image_at), reinterpret_cast<Bf16*>(own + p.filters_at), own + p.line_at,
          own + p.sums_at, reinterpret_cast<std::int64_t*>(own + p.taps_at)};
}

/// Some rows of one image.
struct RowBlock {
  std::int64_t image;
  Range rows;
};
/// All of it, where an image has `lines` lines to pack and the result `rows` rows. pack_line(n, line, image) packs one,
/// pack_panel(q, to) a panel, and run(block, q, image, filters) makes rows of 32 outputs each; after all panels,
/// done(block). All threads of the team call it.
template <class Line, class Panel, class Run, class Done>
TENON_INLINE void run_images(const Bf16Conv& p, const Call& call, Range who, std::int64_t lines, std::int64_t rows,
                             const Line& pack_line, const Panel& pack_panel, const Run& run, const Done& done) {
  const Scratch scratch = scratch_of(p, call, who.begin);
  auto* shared = reinterpret_cast<Bf16*>(static_cast<float*>(call.workspace) + p.conv.filter_at);
  const std::int64_t blocks = blocks_of(rows, p.rows_block), items = p.conv.g.n * blocks;
  const auto block_of = [&](std::int64_t item) {
    const std::int64_t first = item % blocks * p.rows_block;
    return RowBlock{item / blocks, {first, smaller(first + p.rows_block, rows)}};
  };
  const Claims claims{reinterpret_cast<std::int64_t*>(static_cast<float*>(call.workspace) + p.claims_at)};
  if (who.begin == 0) claims.reset();
  if (p.by_panels) {
    const Range mine = part(p.conv.g.n * lines, who.begin, who.end);
    for (std::int64_t i = mine.begin; i < mine.end; ++i) pack_line(i / lines, i % lines, shared + i / lines * p.image);
#pragma omp barrier
    const TileScope tiles;
    for (std::int64_t q = claims.claim(); q < p.panels; q = claims.claim()) {
      pack_panel(q, scratch.filters);
      for (std::int64_t item = 0; item < items; ++item) {
        const RowBlock block = block_of(item);
        run(block, q, shared + block.image * p.image, scratch.filters);
      }
    }
    return;
  }
  const Range my_panels = part(p.panels, who.begin, who.end);
  for (std::int64_t q = my_panels.begin; q < my_panels.end; ++q) pack_panel(q, shared + q * p.panel);
#pragma omp barrier
  const TileScope tiles;
  // The next blocks of a thread: of images that nobody else packs, where there are enough.
  const std::int64_t each = p.images_each * blocks, pieces = blocks_of(items, each);
  const bool claim = pieces >= 2 * who.end;
  const Range mine = part(items, who.begin, who.end);
  for (std::int64_t piece = claim ? claims.claim() : 0; piece < pieces; piece = claim ? claims.claim() : piece + 1) {
    const Range all = claim ? Range{piece * each, smaller((piece + 1) * each, items)}
                            : Range{larger(piece * each, mine.begin), smaller((piece + 1) * each, mine.end)};
    if (all.size() <= 0) continue;
    const Range there{all.begin / blocks, blocks_of(all.end, blocks)};
    for (std::int64_t n = there.begin; n < there.end; ++n)
      for (std::int64_t line = 0; line < lines; ++line)
        pack_line(n, line, scratch.images + (n - there.begin) * p.image);
    // Panels that do not stay in L2 pass over several images each time.
    const std::int64_t together = p.images_each > 1 ? all.size() : 1;
    for (std::int64_t item = all.begin; item < all.end; item += together) {
      const Range some{item, smaller(item + together, all.end)};
      for (std::int64_t q = 0; q < p.panels; ++q)
        for (std::int64_t i = some.begin; i < some.end; ++i) {
          const RowBlock block = block_of(i);
          run(block, q, scratch.images + (block.image - there.begin) * p.image, shared + q * p.panel);
        }
      for (std::int64_t i = some.begin; i < some.end; ++i) done(block_of(i));
    }
  }
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
