// conv2d_grad_filter_bf16: gfilter(kh,kw,c,k) = sum over (n,oy,ox) of dz(n,oy,ox,k) x(n,iy,ix,c), both rounded to bf16,
// where every term is alive; dz is undone in fp32 before. gbias(k) = sum of dz stays fp32, as in conv2d_grad_filter.
// Layout: k of the products are positions. x of an image is turned into (phase, channel, position), so that 16 channels
// by 32 positions are a tile wherever a tap begins; dz is packed as [32 positions][16 filters][tile], zero between the
// end of a row and the next; a pixel that is not finite may therefore reach taps that do not read it. Rows of x begin on cache lines an odd number of lines apart.
// Parallel over groups of order::sample_group images, and over panels of 32 filters where those are few.
// Order: one chain per sample group over (n, oy, ox) ascending, 32 positions at a time; pair tree over the groups.
// Error: (2 * 2^-8 + (terms of a group + log2 of the groups) * 2^-24) * sum |dz x| at most.
#include <omp.h>

#include "kernels/cpu/micro/bf16_image.hpp"
#include "kernels/cpu/micro/conv2d_partials.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

TENON_INLINE std::int64_t positions_of(const Bf16Conv& p) {
  return (std::int64_t{p.conv.g.oh} - 1) * p.line + p.conv.g.ow;
}
TENON_INLINE std::int64_t steps_of(const Bf16Conv& p) { return blocks_of(positions_of(p), tile_terms); }
/// Blocks of 32 channels of a tap, each (32, 32) in the partial sums.
TENON_INLINE std::int64_t channel_blocks(const Bf16Conv& p) { return blocks_of(p.conv.g.c, block_side); }
constexpr std::int64_t block_floats = block_side * block_side;

/// Where each position of every phase lies in an image, in floats; -1: in the padding, or behind the end.
void find_pixels(const Bf16Conv& p, std::int32_t* to) {
  const ConvGeometry& g = p.conv.g;
  for (std::int64_t ry = 0; ry < g.stride_h; ++ry)
    for (std::int64_t rx = 0; rx < g.stride_w; ++rx)
      for (std::int64_t i = 0; i < p.span; ++i) {
        const std::int64_t y = i / p.line * g.stride_h + ry - g.pad_top, x = i % p.line * g.stride_w + rx - g.pad_left;
        const bool inside = y >= 0 && y < g.h && x >= 0 && x < g.w;
        *to++ = inside ? static_cast<std::int32_t>((y * g.w + x) * g.c) : -1;
      }
}

/// x of one image, turned: [phase][channel][span].
void turn_image(const Bf16Conv& p, const float* image, const std::int32_t* pixels, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t phases = std::int64_t{g.stride_h} * g.stride_w;
  for (std::int64_t phase = 0; phase < phases; ++phase)
    for (std::int64_t i = 0; i < p.span; i += 2 * width) {
      const std::int32_t* at = pixels + phase * p.span + i;
      for (std::int64_t c = 0; c < p.channels; c += width)
        turn_terms([&](std::int64_t t) { return at[t] < 0 ? nullptr : image + at[t] + c; }, g.c - c,
                   to + (phase * p.channels + c) * p.span + i, p.span);
    }
}

/// Panels `which` of dz (oh, ow, k): [panel][steps][16 filters][tile].
void pack_positions(const Bf16Conv& p, const float* dz, Range which, Bf16* to) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t steps = steps_of(p), most = positions_of(p);
  for (std::int64_t i = 0; i < steps * tile_terms; i += 2) {
    const auto row = [&](std::int64_t position) {
      const std::int64_t ox = position % p.line;
      return position < most && ox < g.ow ? dz + (position / p.line * g.ow + ox) * g.k : nullptr;
    };
    const float *first = row(i), *second = row(i + 1);
    for (std::int64_t q = which.begin; q < which.end; ++q) {
      const std::int64_t count = smaller(block_side, g.k - q * block_side), across = blocks_of(count, tile_columns);
      Bf16* corner = to + (q * 2 * steps + i / tile_terms * across) * tile_bf16s + i % tile_terms * tile_columns;
      for (std::int64_t j = 0; j < across; ++j) {
        const std::int64_t k = q * block_side + j * tile_columns;
        pair_rows(first == nullptr ? first : first + k, second == nullptr ? second : second + k, g.k - k,
                  corner + j * tile_bf16s, tile_columns);
      }
    }
  }
}

/// Adds one image to the partial sums [panel][tap][32 channels][32][32], or begins them.
void add_image(const Bf16Conv& p, const Bf16* x, const Bf16* dz, Range which, bool go_on, float* partial) {
  const ConvGeometry& g = p.conv.g;
  const std::int64_t steps = steps_of(p), taps = std::int64_t{g.kh} * g.kw, blocks = channel_blocks(p);
  const std::int64_t phase_size = p.line * p.lines;
  for (std::int64_t q = which.begin; q < which.end; ++q) {
    const std::int64_t columns = smaller(block_side, g.k - q * block_side), across = blocks_of(columns, tile_columns);
    for (std::int64_t t = 0; t < taps; ++t) {
      const std::int64_t at = position_of(p, t / g.kw * g.dilation_h, t % g.kw * g.dilation_w);
      const Bf16* phase = x + at / phase_size * p.channels * p.span + at % phase_size;
      for (std::int64_t b = 0; b < blocks; ++b)
        multiply_block({phase + b * block_side * p.span, p.span, tile_rows * p.span, tile_terms, no_taps, 1, steps,
                        dz + q * 2 * steps * tile_bf16s, across * tile_bf16s,
                        partial + ((q * taps + t) * blocks + b) * block_floats, go_on},
                       smaller(block_side, g.c - b * block_side), columns);
    }
  }
}

}  // namespace

void bf16_conv2d_grad_filter(const Call& call) {
  const auto& p = geometry<Bf16Conv>(call);
  const ConvGeometry& g = p.conv.g;
  const float* x = input<float>(call, 1);
  float *partials = static_cast<float*>(call.workspace) + p.conv.partial_at, *gfilter = output<float>(call, 0);
  const std::int64_t groups = order::chunks(g.n, order::sample_group), taps = std::int64_t{g.kh} * g.kw,
                     panels = p.conv.panels, blocks = channel_blocks(p),
                     bias_at = panels * taps * blocks * block_floats;
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Scratch scratch = scratch_of(p, call, omp_get_thread_num());
    auto* pairs = reinterpret_cast<Bf16*>(scratch.sums);
    auto* pixels = reinterpret_cast<std::int32_t*>(scratch.taps);
    find_pixels(p, pixels);
    // A sample group is one chain; where groups are few, its filters are shared out as well.
    const std::int64_t team = omp_get_num_threads(),
                       parts = team == 1 || groups >= 4 * team ? 1 : smaller(panels, blocks_of(4 * team, groups));
    {
      const TileScope tiles;
#pragma omp for schedule(dynamic, 1)
      for (std::int64_t i = 0; i < groups * parts; ++i) {
        const Range which = part(panels, i % parts, parts);
        const std::int64_t first = i / parts * order::sample_group;
        float* partial = partials + i / parts * p.conv.partial_each;
        if (g.bias && which.begin == 0)
          std::memset(partial + bias_at, 0, static_cast<std::size_t>(g.k) * sizeof(float));
        for (std::int64_t n = first; n < smaller(g.n, first + order::sample_group); ++n) {
          const float* dz = dense_dz(p.conv, call, n, scratch.line);
          if (g.bias && which.begin == 0) add_positions(dz, std::int64_t{g.oh} * g.ow, g.k, partial + bias_at);
          turn_image(p, x + n * g.h * g.w * g.c, pixels, scratch.image);
          pack_positions(p, dz, which, pairs);
          add_image(p, scratch.image, pairs, which, n > first, partial);
        }
      }
    }
    join_partials(partials, p.conv.partial_each, groups);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < taps * g.c; ++t)
      for (std::int64_t q = 0; q < panels; ++q) {
        const std::int64_t c = t % g.c;
        const float* sums = partials + ((q * taps + t / g.c) * blocks + c / block_side) * block_floats;
        std::memcpy(gfilter + t * g.k + q * block_side, sums + c % block_side * block_side,
                    static_cast<std::size_t>(smaller(block_side, g.k - q * block_side)) * sizeof(float));
      }
  }
  if (g.bias) std::memcpy(output<float>(call, 1), partials + bias_at, static_cast<std::size_t>(g.k) * sizeof(float));
}

}  // namespace tenon::cpu::TENON_ISA
