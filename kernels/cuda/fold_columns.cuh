// x (outer, n, columns) -> y (outer, columns): columns folded in canonical order, one chain each over `chunk` rows;
// where there are several chunks, their results wait in the workspace, (outer, chunks, columns), and a second launch
// joins them by the pair tree. Where there are columns enough, a thread has a column of a chunk. Else a block has up to
// 32 of them: its first warp holds the chains, the others bring the next rows into shared memory meanwhile, so that
// many loads are under way though chains are few.
#pragma once
#include "kernels/common/order.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/fold.cuh"

namespace tenon::cuda {
namespace {

struct ColumnsGeometry {
  std::int64_t n, columns, chunks, chunk, parts;  // parts: outer * chunks
};

/// The rows of a part.
struct PartRows {
  std::int64_t first, count;  // in x (outer * n, columns)

  __device__ PartRows(const ColumnsGeometry& g, std::int64_t part) {
    const std::int64_t outer = g.chunks == 1 ? part : part / g.chunks, begin = (part - outer * g.chunks) * g.chunk;
    first = outer * g.n + begin;
    count = g.n - begin < g.chunk ? g.n - begin : g.chunk;
  }
};

template <class Fold, class Finish>
__global__ void fold_columns_by_threads(ColumnsGeometry g, const float* x, float* to, Finish finish) {
  for_each_index(g.parts * g.columns, [&](std::int64_t item) {
    const std::int64_t part = item / g.columns, column = item - part * g.columns;
    const PartRows rows(g, part);
    const float* from = x + rows.first * g.columns + column;
    float acc = Fold::identity;
#pragma unroll 8
    for (std::int64_t i = 0; i < rows.count; ++i) acc = Fold::step(acc, from[i * g.columns]);
    to[item] = finish(acc);
  });
}

/// Rows of the block's columns: a tile is being written while the one before is being read.
struct ColumnStorage {
  static constexpr int tile = 1024;
  Shared<float, 2 * tile> x;
};

/// Which elements of a tile (rows, width) a thread loads: every `threads`-th, found without a division.
struct TileWalk {
  int row, column, rows_on, columns_on, width;

  __device__ TileWalk(int thread, int threads, int width_)
      : row(thread / width_),
        column(thread % width_),
        rows_on(threads / width_),
        columns_on(threads % width_),
        width(width_) {}
  __device__ void next() {
    row += rows_on;
    column += columns_on;
    if (column >= width) {
      column -= width;
      ++row;
    }
  }
};

template <class Fold, class Finish>
__global__ void __launch_bounds__(block_threads)
    fold_columns_by_blocks(ColumnsGeometry g, std::int64_t strips, const float* x, float* to, Finish finish) {
  ColumnStorage& shared = shared_storage<ColumnStorage>();
  const int thread = static_cast<int>(threadIdx.x), adding = static_cast<int>(warp);
  for (std::int64_t item = blockIdx.x; item < g.parts * strips; item += gridDim.x) {
    const std::int64_t part = item / strips, column = (item - part * strips) * warp;
    const int width = static_cast<int>(g.columns - column < warp ? g.columns - column : warp);
    const int tile_rows = ColumnStorage::tile / width;
    const PartRows rows(g, part);
    const float* from = x + rows.first * g.columns + column;
    const std::int64_t tiles = (rows.count + tile_rows - 1) / tile_rows;
    const auto rows_of = [&](std::int64_t t) {
      const std::int64_t left = rows.count - t * tile_rows;
      return static_cast<int>(left < tile_rows ? left : tile_rows);
    };
    float acc = Fold::identity;
    for (std::int64_t t = 0; t <= tiles; ++t) {
      const int helpers_from = t == 0 ? 0 : adding;
      if (t < tiles && thread >= helpers_from) {
        const float* begin = from + t * tile_rows * g.columns;
        const int last = rows_of(t), stage = static_cast<int>(t % 2) * ColumnStorage::tile;
        TileWalk walk(thread - helpers_from, static_cast<int>(block_threads) - helpers_from, width);
#pragma unroll 4
        for (; walk.row < last; walk.next())
          shared.x[stage + walk.row * width + walk.column] = begin[walk.row * g.columns + walk.column];
      }
      if (t > 0 && thread < width) {
        const int last = rows_of(t - 1), stage = static_cast<int>((t - 1) % 2) * ColumnStorage::tile;
#pragma unroll 8
        for (int i = 0; i < last; ++i) acc = Fold::step(acc, shared.x[stage + i * width + thread]);
      }
      __syncthreads();
    }
    if (thread < width) to[part * g.columns + column + thread] = finish(acc);
  }
}

/// parts (outer, chunks, columns) -> y (outer, columns), a thread a column.
template <class Fold, class Finish>
__global__ void join_columns(ColumnsGeometry g, std::int64_t outputs, const float* parts, float* y, Finish finish) {
  for_each_index(outputs, [&](std::int64_t item) {
    const std::int64_t outer = item / g.columns, column = item - outer * g.columns;
    const float* from = parts + outer * g.chunks * g.columns + column;
    float tree[32] = {};
    int height = 0;
    const auto join = [&](int below, int top) { tree[below] = Fold::join(tree[below], tree[top]); };
    for (std::int64_t chunk = 0; chunk < g.chunks; ++chunk) {
      tree[height] = from[chunk * g.columns];
      height = order::tree_push(chunk, height, join);
    }
    order::tree_finish(height, join);
    y[item] = finish(tree[0]);
  });
}

template <class Fold, class Finish>
void fold_parts(const Call& call, const ColumnsGeometry& g, const float* x, float* to, Finish finish) {
  const std::int64_t chains = g.parts * g.columns, strips = (g.columns + warp - 1) / warp;
  constexpr std::int64_t many_chains = 1 << 15, few_rows = 32;
  if (chains >= many_chains || g.n <= few_rows)
    launch(call, fold_columns_by_threads<Fold, Finish>, blocks_for(chains), dim3(block_threads), 0, g, x, to, finish);
  else
    launch(call, fold_columns_by_blocks<Fold, Finish>, blocks_for(g.parts * strips, 1), dim3(block_threads),
           sizeof(ColumnStorage), g, strips, x, to, finish);
}

/// The workspace has room for (outer, chunks, columns) where there is more than one chunk.
template <class Fold, class Finish>
void fold_columns(const Call& call, std::int64_t outer, std::int64_t n, std::int64_t columns, std::int64_t chunk,
                  Finish finish) {
  const float* x = input<float>(call, 0);
  float *parts = static_cast<float*>(call.workspace), *y = output<float>(call, 0);
  const std::int64_t chunks = order::chunks(n, chunk);
  const ColumnsGeometry g{n, columns, chunks, chunk, outer * chunks};
  if (outer * columns == 0) return;
  if (chunks == 1) return fold_parts<Fold>(call, g, x, y, finish);
  fold_parts<Fold>(call, g, x, parts, AsItIs{});
  launch(call, join_columns<Fold, Finish>, blocks_for(outer * columns, 64), dim3(64), 0, g, outer * columns, parts, y,
         finish);
}

}  // namespace
}  // namespace tenon::cuda
