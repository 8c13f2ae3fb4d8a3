// conv2d_grad_filter_bf16: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), both rounded to bf16, or
// both halves of each (precision tf32, bf16_pack.hpp), where every term is alive; dz is undone in fp32 before. gbias(k) = sum
// of dz stays fp32, as in conv2d_grad_filter.
// Layout: k of the products are positions, of as many images at a time as stay in L2. x is turned into rows (phase,
// channel) of positions, so that 16 channels by 32 positions are a tile wherever a tap begins; dz is packed as [image][32
// positions][half][16 filters][tile], zero between the end of a row and the next; a pixel that is not finite may
// therefore reach taps that do not read it. Rows begin on cache lines an odd number of lines apart.
// A 1x1 filter without padding reads each pixel for one position: no image begins or ends then, and x is packed as tiles.
// Few channels (a colour image): a row of the filter is one tap, whose channels are the neighbouring numbers of kw pixels.
// Parallel over groups of order::sample_group images, and over panels of 32 filters where those are few.
// Order: one chain per sample group over (n, oy, ox) ascending, 32 positions at a time; pair tree over the groups.
// Error: (rounding + (terms of a group + log2 of the groups) * 2^-24) * sum |dz x| at most, where rounding is 2 * 2^-8, and
// 3 * 2^-16 of split numbers.
#include <omp.h>

#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/bf16_operands.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t block_floats = block_side * block_side;

/// Blocks of 32 channels of a tap, each (32, 32) in the partial sums.
TENON_INLINE std::int64_t channel_blocks(const Bf16GradFilter& p) { return blocks_of(p.terms, block_side); }

/// Positions that are worked on together: images, or a run of positions of any images.
struct Piece {
  std::int64_t image, images;  // images: the first, and how many; a run counts as one
  std::int64_t first, count;   // positions of dz
  std::int64_t steps;          // of 32 positions in each image
};

/// Where each position of every phase lies in an image, in floats; -1: in the padding, or behind the end.
void find_pixels(const Bf16GradFilter& p, std::int32_t* to) {
  const ConvGeometry& g = p.conv.g;
  for (std::int64_t ry = 0; ry < g.stride_h; ++ry)
    for (std::int64_t rx = 0; rx < g.stride_w; ++rx)
      for (std::int64_t i = 0; i < p.span; ++i) {
        const std::int64_t y = i / p.line * g.stride_h + ry - g.pad_top, x = i % p.line * g.stride_w + rx - g.pad_left;
        const bool inside = y >= 0 && y < g.h && x >= 0 && x < g.w;
        *to++ = inside ? static_cast<std::int32_t>((y * g.w + x) * g.c) : -1;
      }
}

/// All channels of 32 positions, turned; pixel(i) is where one lies, or null.
template <class Half, class Pixel>
TENON_INLINE void turn_positions(const Bf16GradFilter& p, const Pixel& pixel, Bf16* to) {
  static_assert(tile_terms % (2 * width) == 0);
  for (std::int64_t i = 0; i < tile_terms; i += 2 * width)
    for (std::int64_t c = 0; c < p.channels; c += width)
      turn_terms<Half>(
          [&](std::int64_t t) {
            const float* from = pixel(i + t);
            return from == nullptr ? from : from + c;
          },
          p.terms - c, to + c / tile_rows * p.below + c % tile_rows * p.row + i, p.row);
}
template <bool split, class Pixel>
TENON_INLINE void turn_halves(const Bf16GradFilter& p, const Pixel& pixel, Bf16* to) {
  turn_positions<Upper>(p, pixel, to);
  if constexpr (split) turn_positions<Lower>(p, pixel, to + p.lower);
}
template <bool split>
void turn_piece(const Bf16GradFilter& p, const float* x, const Piece& piece, const std::int32_t* pixels, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  if (p.run > 0) {
    const std::int64_t width_in = p.rows_as_terms ? p.conv.padded_w : g.w;
    for (std::int64_t t = 0; t < p.taps; ++t, to += p.channels / tile_rows * p.below) {
      // Of a colour image, x is this one in its frame of zeros.
      const auto line_of = [&](std::int64_t row) {
        const std::int64_t y =
            row % g.oh * g.stride_h + (p.rows_as_terms ? t * g.dilation_h : row / g.oh * std::int64_t{g.h});
        return x + y * width_in * g.c;
      };
      std::int64_t row = piece.first / g.ow, ox = piece.first % g.ow;
      const float* line = line_of(row);
      for (std::int64_t s = 0; s < piece.steps; ++s) {
        const float* at[tile_terms];
        for (std::int64_t i = 0; i < tile_terms; ++i) {
          at[i] = s * tile_terms + i < piece.count ? line + ox * g.stride_w * g.c : nullptr;
          if (++ox < g.ow) continue;
          ox = 0;
          line = line_of(++row);
        }
        turn_halves<split>(
            p, [&](std::int64_t i) { return at[i]; }, to + s * p.step);
      }
    }
    return;
  }
  const std::int64_t phases = std::int64_t{g.stride_h} * g.stride_w;
  for (std::int64_t n = 0; n < piece.images; ++n)
    for (std::int64_t phase = 0; phase < phases; ++phase)
      for (std::int64_t i = 0; i < p.span; i += tile_terms) {
        const float* image = x + (piece.image + n) * g.h * g.w * g.c;
        const std::int32_t* at = pixels + phase * p.span + i;
        turn_halves<split>(
            p, [&](std::int64_t t) { return at[t] < 0 ? nullptr : image + at[t]; },
            to + phase * p.channels * p.row + n * p.span + i);
      }
}

/// Panels `which` of a piece of dz: [panel][image][steps][half][16 filters][tile].
template <bool split>
void pack_panels(const Bf16GradFilter& p, const float* dz, const Piece& piece, Range which, std::int64_t panel_size,
                 Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t positions = std::int64_t{g.oh} * g.ow;
  for (std::int64_t n = 0; n < piece.images; ++n) {
    std::int64_t at = 0, ox = 0, oy = 0;
    const auto next_row = [&]() -> const float* {
      if (p.run > 0) return at < piece.count ? dz + at++ * g.k : nullptr;
      const float* row = oy < g.oh && ox < g.ow ? dz + (n * positions + oy * g.ow + ox) * g.k : nullptr;
      if (++ox == p.line) {
        ox = 0;
        ++oy;
      }
      return row;
    };
    for (std::int64_t i = 0; i < piece.steps * tile_terms; i += 2) {
      const float *first = next_row(), *second = next_row();
      const std::int64_t step = n * piece.steps + i / tile_terms;
      for (std::int64_t q = which.begin; q < which.end; ++q) {
        const std::int64_t count = smaller(block_side, g.k - q * block_side), size = right_step<split>(count);
        Bf16* corner = to + (q - which.begin) * panel_size + step * size + i % tile_terms * tile_columns;
        for (std::int64_t j = 0; j < count; j += tile_columns, corner += tile_bf16s) {
          const std::int64_t k = q * block_side + j;
          const float *one = first == nullptr ? first : first + k, *other = second == nullptr ? second : second + k;
          pair_rows<Upper>(one, other, g.k - k, corner, tile_columns);
          if constexpr (split) pair_rows<Lower>(one, other, g.k - k, corner + size / 2, tile_columns);
        }
      }
    }
  }
}

/// Adds a piece to the partial sums [panel][tap][32 channels][32][32] of panel q, or begins them.
template <bool split>
void add_piece(const Bf16GradFilter& p, const Bf16* x, const Bf16* dz, const Piece& piece, const std::int64_t* images,
               std::int64_t q, bool go_on, float* partial) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t taps = p.taps, blocks = channel_blocks(p), columns = smaller(block_side, g.k - q * block_side);
  for (std::int64_t t = 0; t < taps; ++t) {
    const std::int64_t y = t / g.kw * g.dilation_h, column = t % g.kw * g.dilation_w,
                       phase = y % g.stride_h * g.stride_w + column % g.stride_w;
    const Bf16* tap = p.run > 0 ? x + t * (p.channels / tile_rows) * p.below
                                : x + phase * p.channels * p.row + y / g.stride_h * p.line + column / g.stride_w;
    for (std::int64_t b = 0; b < blocks; ++b)
      multiply_block<split>(
          {tap + 2 * b * p.below, p.row, p.below, p.step, p.lower, images, piece.images, piece.steps, dz,
           right_step<split>(columns), partial + ((q * taps + t) * blocks + b) * block_floats, go_on},
          smaller(block_side, p.terms - b * block_side), columns);
  }
}

/// A thread's scratch.
struct Scratch {
  Bf16 *turned, *pairs;
  float *line, *frame;
  std::int64_t* images;
  std::int32_t* pixels;
};

/// Some panels of one sample group.
template <bool split>
void add_group(const Bf16GradFilter& p, const Call& call, const Scratch& scratch, Range group, Range which,
               float* partial, float* bias) {
  const ConvGeometry& g = p.conv.g;
  const PrologueGeometry undo = prologue_of(g);
  const std::int64_t positions = std::int64_t{g.oh} * g.ow;
  const float* frame = nullptr;
  Piece piece{group.begin, 1, group.begin * positions, 0, 0};
  for (bool go_on = false; piece.first < group.end * positions; piece.first += piece.count, go_on = true) {
    piece.image = piece.first / positions;
    piece.images = p.run > 0 ? 1 : smaller(p.images_each, group.end - piece.image);
    // A run may go on over the end of an image, but not from frame to frame.
    const std::int64_t end = (p.rows_as_terms ? piece.image + 1 : group.end) * positions;
    piece.count = p.run > 0 ? smaller(p.run, end - piece.first) : piece.images * positions;
    piece.steps = blocks_of(p.run > 0 ? piece.count : (g.oh - 1) * p.line + g.ow, tile_terms);
    const float* dz = input<float>(call, 0) + piece.first * g.k;
    if (undo.any) {
      undo_elements(undo, call, piece.first * g.k, piece.count * g.k, scratch.line);
      dz = scratch.line;
    }
    if (bias != nullptr) add_positions(dz, piece.count, g.k, bias);
    const float* x = input<float>(call, 1);
    if (p.rows_as_terms) {
      if (piece.first % positions == 0) frame = padded_image(p.conv, x, piece.image, scratch.frame);
      x = frame;
    }
    turn_piece<split>(p, x, piece, scratch.pixels, scratch.turned);
    const std::int64_t panel_size = piece.images * piece.steps * right_step<split>(block_side);
    for (std::int64_t q0 = which.begin; q0 < which.end; q0 += p.panels_each) {
      const Range some{q0, smaller(q0 + p.panels_each, which.end)};
      pack_panels<split>(p, dz, piece, some, panel_size, scratch.pairs);
      for (std::int64_t q = some.begin; q < some.end; ++q)
        add_piece<split>(p, scratch.turned, scratch.pairs + (q - q0) * panel_size, piece, scratch.images, q, go_on,
                         partial);
    }
  }
}

template <bool split>
void conv2d_grad_filter(const Call& call) {
  const auto& p = geometry<Bf16GradFilter>(call);
  const ConvGeometry& g = p.conv.g;
  auto* work = static_cast<float*>(call.workspace);
  float *partials = work + p.conv.partial_at, *gfilter = output<float>(call, 0);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), taps = p.taps, panels = p.conv.panels,
                     blocks = channel_blocks(p), bias_at = panels * taps * blocks * block_floats;
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* own = work + p.conv.scratch_at + omp_get_thread_num() * p.conv.scratch_each;
    const Scratch scratch{reinterpret_cast<Bf16*>(own + p.turned_at),
                          reinterpret_cast<Bf16*>(own + p.pairs_at),
                          own + p.line_at,
                          own + p.frame_at,
                          reinterpret_cast<std::int64_t*>(own + p.images_at),
                          reinterpret_cast<std::int32_t*>(own + p.pixels_at)};
    if (p.run == 0) find_pixels(p, scratch.pixels);
    for (std::int64_t n = 0; n < p.images_each; ++n) scratch.images[n] = n * p.span;
    // A sample group is one chain; where groups cannot be shared out evenly, its filters are.
    const std::int64_t team = omp_get_num_threads(), parts = shared_evenly(groups, team) ? 1 : smaller(panels, team);
    {
      const TileScope tiles;
#pragma omp for schedule(dynamic, 1)
      for (std::int64_t i = 0; i < groups * parts; ++i) {
        const Range which = part(panels, i % parts, parts);
        const std::int64_t first = i / parts * order::sample_group;
        float* partial = partials + i / parts * p.conv.partial_each;
        float* bias = g.bias && which.begin == 0 ? partial + bias_at : nullptr;
        if (bias != nullptr) clear_floats(bias, g.k);
        add_group<split>(p, call, scratch, {first, smaller(g.n, first + order::sample_group)}, which, partial, bias);
      }
    }
    join_partials(partials, p.conv.partial_each, groups);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < taps * p.terms; ++t)
      for (std::int64_t q = 0; q < panels; ++q) {
        const std::int64_t c = t % p.terms;
        const float* sums = partials + ((q * taps + t / p.terms) * blocks + c / block_side) * block_floats;
        std::memcpy(gfilter + t * g.k + q * block_side, sums + c % block_side * block_side,
                    static_cast<std::size_t>(smaller(block_side, g.k - q * block_side)) * sizeof(float));
      }
  }
  if (g.bias) std::memcpy(output<float>(call, 1), partials + bias_at, static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace

void bf16_conv2d_grad_filter(const Call& call) { conv2d_grad_filter<false>(call); }
void split_conv2d_grad_filter(const Call& call) { conv2d_grad_filter<true>(call); }

}  // namespace tenon::cpu::TENON_ISA
