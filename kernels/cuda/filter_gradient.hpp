// Which convolutions of few channels and which filter gradients have kernels of their own, and how filter gradients are cut into
// chunks. Plain C++: the library asks, to make room for the sums of every chunk, and the module, to start the kernels.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/common/conv_geometry.hpp"
#include "tenon/op.hpp"

namespace tenon::cuda {

/// Of conv2d_grad_filter_cells.cuh: what a block of it has.
struct CellsTile {
  static constexpr int taps = 9, channels = 32, filters = 64, warps = 6;
  static constexpr int pixels = 676;  // of an image in shared memory: 26 x 26
};

/// Pixels of a line of the image, padding and all, that all windows of a pooled row reach, and lines that `rows` pooled rows reach.
static constexpr std::int32_t cells_width(const ConvGeometry& g) {
  return (2 * g.pw - 1) * g.stride_w + (g.kw - 1) * g.dilation_w + 1;
}
static constexpr std::int32_t cells_height(const ConvGeometry& g, std::int32_t rows) {
  return (2 * rows - 1) * g.stride_h + (g.kh - 1) * g.dilation_h + 1;
}

/// True where the filter gradient goes cell by cell of the pool: channels are read by fours, and a row of cells fits.
static constexpr bool takes_cells(const ConvGeometry& g) {
  return g.pool && g.mask && g.groups == 1 && g.c % 4 == 0 && g.k % 4 == 0 && g.kh * g.kw >= 4 && g.ph > 0 &&
         g.pw > 0 && std::int64_t{cells_width(g)} * cells_height(g, 1) <= CellsTile::pixels;
}

// --- few channels (conv2d_few.cuh) --------------------------------------------------------------------------------

/// Of the kernels that keep lines of images in shared memory: numbers there, filters of a block, terms of a filter.
struct FewTile {
  static constexpr int channels = 4, numbers = 8192, filters = 32, terms = 160, threads = 256;
  static constexpr int most_sums = 27;  // of a filter, where a thread has all of them
};

/// Numbers of a line that `columns` windows reach, and lines that `rows` windows reach.
static constexpr std::int32_t few_line(const ConvGeometry& g, std::int32_t columns) {
  return ((columns - 1) * g.stride_w + (g.kw - 1) * g.dilation_w + 1) * g.c;
}
static constexpr std::int32_t few_lines(const ConvGeometry& g, std::int32_t rows) {
  return (rows - 1) * g.stride_h + (g.kh - 1) * g.dilation_h + 1;
}
static constexpr bool few_fit(const ConvGeometry& g, std::int32_t rows, std::int32_t columns) {
  return std::int64_t{few_line(g, columns)} * few_lines(g, rows) <= FewTile::numbers;
}
/// Offsets in a sample are of 32 bits, and a grid has 65535 rows.
static constexpr bool few_channels(const ConvGeometry& g) {
  constexpr std::int64_t most = std::int64_t{1} << 31;
  return std::int64_t{g.oh} * g.ow * g.k < most && std::int64_t{g.h} * g.w * g.c < most && g.k < 65536 &&
         g.groups == 1 && g.c <= FewTile::channels && g.c > 0 && g.n > 0 && g.k > 0 && g.k % 4 == 0 && g.ph > 0 &&
         g.pw > 0 && g.kh * g.kw * g.c <= FewTile::terms;
}
/// Columns that a line of quads of pixels computes: whole windows of a pool, or fours of neighbours.
static constexpr std::int32_t few_columns(const ConvGeometry& g) { return g.pool ? 2 * g.pw : (g.ow + 3) / 4 * 4; }

/// True where the forward convolution keeps lines of an image: a row of quads fits.
static constexpr bool takes_few(const ConvGeometry& g) {
  return few_channels(g) && few_fit(g, g.pool ? 2 : 1, few_columns(g));
}
/// Gradients undo what needs no function but relu.
static constexpr bool takes_few_undo(const ConvGeometry& g) {
  constexpr std::uint8_t identity = 0, relu = static_cast<std::uint8_t>(op::UnaryFn::relu);
  static_assert(static_cast<std::uint8_t>(op::UnaryFn::identity) == identity);
  return g.mask || g.activation == identity || g.activation == relu;
}
/// True where the filter gradient is summed in any order by threads that have all terms of four filters.
static constexpr bool takes_few_sums(const ConvGeometry& g) {
  return few_channels(g) && takes_few_undo(g) && g.kh * g.kw * g.c <= FewTile::most_sums && few_fit(g, 1, g.ow);
}

/// How that is cut: chunk i has band i % bands of rows, of samples from i / bands * samples on.
struct FewCut {
  std::int64_t samples;
  std::int32_t bands, rows;
  [[nodiscard]] std::int64_t chunks(std::int64_t n) const { return (n + samples - 1) / samples * bands; }
};
inline FewCut few_cut(const ConvGeometry& g) {
  constexpr std::int64_t wanted = 264, few_rows = 4;  // two blocks a multiprocessor
  const std::int64_t tiles = (g.k + FewTile::filters - 1) / FewTile::filters;
  FewCut cut{1, 1, g.oh};
  while (!few_fit(g, cut.rows, g.ow)) --cut.rows;
  cut.bands = (g.oh + cut.rows - 1) / cut.rows;
  const auto most = static_cast<std::int32_t>((g.oh + few_rows - 1) / few_rows);
  const auto more = static_cast<std::int32_t>(std::min<std::int64_t>(most, wanted / (g.n * tiles)));
  cut.bands = std::max(cut.bands, more);
  cut.rows = (g.oh + cut.bands - 1) / cut.bands;
  cut.bands = (g.oh + cut.rows - 1) / cut.rows;
  cut.samples = std::max<std::int64_t>(1, (g.n * cut.bands * tiles + wanted - 1) / wanted);
  return cut;
}

/// Of the canonical filter gradient: a thread has a row of taps, for a filter. Numbers and sizes of what a block keeps, twice each.
struct FewChains {
  static constexpr int numbers = 24000, most_threads = 512, producers = 256, most_taps = 7, ahead = 32;
  static constexpr int most_items = most_threads - producers - 32;  // rows of taps times filters
  std::int32_t filters = 0, rows = 0;                               // of a block; of a stage
  std::int32_t pitch = 0, plane = 0, dz = 0;  // numbers of a line and of a plane of x, of a filter's dz
  std::int32_t planes = 0;
  [[nodiscard]] constexpr bool fit() const {
    return 2 * (std::int64_t{planes} * plane + std::int64_t{filters} * dz) <= numbers;
  }
};
static constexpr FewChains few_chains(const ConvGeometry& g, std::int32_t filters, std::int32_t rows) {
  FewChains f;
  f.filters = filters;
  f.rows = rows;
  f.pitch = (g.ow + (g.kw - 1) / g.stride_w + 3) / 4 * 4;
  const std::int32_t steps = (rows * f.pitch + FewChains::ahead - 1) / FewChains::ahead * FewChains::ahead;
  f.plane = (g.kh - 1) * g.dilation_h / g.stride_h * f.pitch + steps + 8;
  f.dz = steps + 4;  // an odd number of fours, so that filters lie in different banks
  f.planes = g.c * g.stride_h * g.stride_w;
  return f;
}
/// True where the canonical filter gradient goes by chains of rows of taps.
static constexpr bool takes_few_chains(const ConvGeometry& g) {
  return few_channels(g) && takes_few_undo(g) && g.kw <= FewChains::most_taps && g.dilation_w == 1 && g.stride_w <= 2 &&
         4 * g.kh * g.c <= FewChains::most_items && few_fit(g, 1, g.ow) && few_chains(g, 4, 1).fit();
}

/// Samples that are summed in one chunk: as few as it takes to give every multiprocessor of a large GPU a block or two.
inline std::int64_t chunk_samples(const ConvGeometry& g) {
  const auto tiles = [](std::int64_t n, std::int64_t tile) { return (n + tile - 1) / tile; };
  const std::int64_t taps = std::int64_t{g.kh} * g.kw, c = g.c / g.groups, k = g.k / g.groups;
  const bool few = takes_few_chains(g) && !takes_cells(g);
  const std::int64_t blocks =
      few              ? tiles(k, 8)
      : takes_cells(g) ? tiles(taps, CellsTile::taps) * tiles(c, CellsTile::channels) * tiles(k, CellsTile::filters)
                       : tiles(taps * c, 128) * tiles(k, 64) * g.groups;
  const std::int64_t wanted =
      std::max<std::int64_t>(1, (few || takes_cells(g) ? 132 : 256) / std::max<std::int64_t>(1, blocks));
  return std::max<std::int64_t>(1, tiles(g.n, wanted));
}

}  // namespace tenon::cuda
