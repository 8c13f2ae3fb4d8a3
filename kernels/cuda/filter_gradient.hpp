// How the filter gradient of a convolution is cut on tensor cores, where no order is promised. Plain C++: the library asks, to make
// room for the sums of every chunk, and the module, to start the kernels.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/common/conv_geometry.hpp"

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

/// Samples that are summed in one chunk: as few as it takes to give every multiprocessor of a large GPU a block or two.
inline std::int64_t chunk_samples(const ConvGeometry& g) {
  const auto tiles = [](std::int64_t n, std::int64_t tile) { return (n + tile - 1) / tile; };
  const std::int64_t taps = std::int64_t{g.kh} * g.kw, c = g.c / g.groups, k = g.k / g.groups;
  const std::int64_t blocks =
      takes_cells(g) ? tiles(taps, CellsTile::taps) * tiles(c, CellsTile::channels) * tiles(k, CellsTile::filters)
                     : tiles(taps * c, 128) * tiles(k, 64) * g.groups;
  const std::int64_t wanted =
      std::max<std::int64_t>(1, (takes_cells(g) ? 132 : 256) / std::max<std::int64_t>(1, blocks));
  return std::max<std::int64_t>(1, tiles(g.n, wanted));
}

}  // namespace tenon::cuda
