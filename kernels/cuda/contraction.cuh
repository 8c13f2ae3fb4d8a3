// Every contraction, in one shape: c(row, column) = sum over terms of a(row, term) b(term, column). A view says where terms lie
// and where sums go, so that products, convolutions and their gradients share the kernels below, whatever their padding, stride
// and groups (implicit GEMM: nothing is gathered in memory first).
//
//   view.batches, rows, columns         independent products (groups of a convolution), and the extents of each
//   view.chunks, first_term(chunk)      chunks of canonical order; terms of chunk i are [first_term(i), first_term(i + 1))
//   Row view.row(batch, row)            what it takes to find a row's terms, once per row; likewise Column
//   float view.a(Row, term), view.b(Column, term)
//   void view.a_four(Row, term, v), view.b_four(Column, term, v)    four neighbours in memory
//   Reading view.a_reading, view.b_reading                          what lies side by side there: operand.cuh
//   View::a_by_lines, b_by_lines                                    whether lines do, in the usual case
//   View::a_plain, b_plain                  terms are numbers in memory, which const float* view.a_source(Row, term) finds
//   view.finish(batch, row, column, Quad)   takes complete sums, four by four; some may lie outside
//
// Order: each sum is one chain of FMAs over the terms of a chunk, ascending; chunk sums join by the pair tree
// (kernels/common/order.hpp). Dead terms enter as zeros. Error: that of the chains, as on the CPU: the bits are the same.
#pragma once
#include "kernels/common/order.hpp"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/operand.cuh"

namespace tenon::cuda {

struct QuadLine {
  float sum[4];
};
inline constexpr int tree_levels = 20;  // more than 65535 chunks, which a grid has at most, can need
/// A quad out of the chunks that it is summed in, by the pair tree: fill(chunk, i, line) adds a chunk's sums of row `row + i`. Row by
/// row, because a tree of whole quads is 2 KiB of local memory, which is set aside for every thread that the GPU can hold.
template <class View, class Fill>
__device__ Quad fold_chunks(const View& view, std::int64_t row, const Fill& fill) {
  Quad z = {};
  for (int i = 0; i < 4 && row + i < view.rows; ++i) {
    QuadLine tree[tree_levels];
    int height = 0;
    const auto join = [&](int below, int top) {
      for (int j = 0; j < 4; ++j) tree[below].sum[j] += tree[top].sum[j];
    };
    for (std::int64_t chunk = 0; chunk < view.chunks; ++chunk) {
      QuadLine line = {};
      fill(chunk, i, line);
      tree[height] = line;
      height = order::tree_push(chunk, height, join);
    }
    order::tree_finish(height, join);
    for (int j = 0; j < 4; ++j) z.sum[i][j] = tree[0].sum[j];
  }
  return z;
}

/// One thread has a quad of sums and walks through all its terms: as plain as a GPU kernel can be, to compare with.
template <class View>
__global__ void contract_naive(View view) {
  const std::int64_t across = (view.columns + 3) / 4, quads = (view.rows + 3) / 4 * across * view.batches;
  for_each_index(quads, [&](std::int64_t quad) {
    const std::int64_t column = quad % across * 4, line = quad / across, lines = (view.rows + 3) / 4;
    const std::int64_t batch = line / lines, row = line % lines * 4;
    const Quad z = fold_chunks(view, row, [&](std::int64_t chunk, int i, QuadLine& sums) {
      const typename View::Row place = view.row(batch, row + i);
      for (std::int64_t t = view.first_term(chunk); t < view.first_term(chunk + 1); ++t)
        for (int j = 0; j < 4; ++j)
          if (column + j < view.columns)
            sums.sum[j] = __fmaf_rn(view.a(place, t), view.b(view.column(batch, column + j), t), sums.sum[j]);
    });
    view.finish(batch, row, column, z);
  });
}

/// Words of shared memory that are one term each.
struct Fp32 {
  using Word = float;
  static constexpr int terms = 1;
  __device__ static float word(const float* v) { return v[0]; }
};

/// Sizes of a block's tile of c, and of a thread's part of it.
template <int rows_, int columns_, int thread_rows_, int thread_columns_>
struct Tile {
  static constexpr int rows = rows_, columns = columns_, thread_rows = thread_rows_, thread_columns = thread_columns_;
  static constexpr int across = columns / thread_columns, threads = rows / thread_rows * across;
  static constexpr int depth = 8;  // terms in shared memory at a time
  /// That a multiprocessor shall hold: 12 to 16 warps of 128 to 168 registers a thread, but 64 sums need more.
  static constexpr int blocks = thread_rows * thread_columns >= 64 ? 1 : threads < 64 ? 8 : threads < 256 ? 3 : 2;
  static_assert(thread_rows % 4 == 0 && thread_columns % 4 == 0);
};

/// Two stages of both operands, word by word, so that a thread finds its rows and columns of a term side by side. Four elements
/// more than the tile, so that the threads that store a row's terms, which are neighbours, meet different banks.
template <class T>
struct TiledStorage {
  using A = WordByWord<T::rows, T::depth, 4>;
  using B = WordByWord<T::columns, T::depth, 4>;
  Shared<float, 2 * A::size> a;
  Shared<float, 2 * B::size> b;
};

/// A quad of a chunk's sums goes to the view where the chunk is all there is, else to `partial` (batch, chunk, row, column).
template <class View>
__device__ void finish_chunk(const View& view, std::int64_t batch, std::int64_t chunk, std::int64_t row,
                             std::int64_t column, const Quad& z, float* partial) {
  if (view.chunks == 1) {
    view.finish(batch, row, column, z);
    return;
  }
#pragma unroll
  for (int r = 0; r < 4; ++r)
    if (row + r < view.rows)
      write_four(partial, ((batch * view.chunks + chunk) * view.rows + row + r) * view.columns + column, z.sum[r],
                 view.columns - column);
}

/// A block has a tile of c for one chunk. The next terms are on their way from memory into registers while those in shared memory
/// are multiplied.
template <class T, class View>
__global__ void __launch_bounds__(T::threads, T::blocks) contract_tiled(View view, float* partial) {
  using Storage = TiledStorage<T>;
  Storage& shared = shared_storage<Storage>();
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t batch = blockIdx.z / view.chunks, chunk = blockIdx.z % view.chunks;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * T::rows;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.y) * T::columns;
  const auto first = static_cast<int>(view.first_term(chunk)), last = static_cast<int>(view.first_term(chunk + 1));

  StagedOperand<Fp32, SideA<View>, typename Storage::A, T::threads> a_tile({view, batch}, thread, row0);
  StagedOperand<Fp32, SideB<View>, typename Storage::B, T::threads> b_tile({view, batch}, thread, column0);
  const auto fetch = [&](int begin) {
    a_tile.fetch(begin, last);
    b_tile.fetch(begin, last);
  };
  const auto store = [&](int stage) {
    a_tile.store(shared.a, stage * Storage::A::size);
    b_tile.store(shared.b, stage * Storage::B::size);
  };

  float sums[T::thread_rows][T::thread_columns] = {};
  const int my_row = thread / T::across * 4, my_column = thread % T::across * 4;
  // Quads of a thread lie a fraction of the tile apart, so that a warp's reads of one line are neighbours.
  constexpr int row_step = T::rows / T::thread_rows * 4, column_step = T::columns / T::thread_columns * 4;
  fetch(first);
  store(0);
  __syncthreads();
  int stage = 0;
  for (int left = last - first; left > 0; left -= T::depth) {
    const bool more = left > T::depth;
    if (more) fetch(last - left + T::depth);
#pragma unroll
    for (int term = 0; term < T::depth; ++term) {
      float a[T::thread_rows], b[T::thread_columns];
#pragma unroll
      for (int i = 0; i < T::thread_rows; ++i)
        a[i] = shared.a[stage * Storage::A::size + Storage::A::at(my_row + i / 4 * row_step + i % 4, term)];
#pragma unroll
      for (int j = 0; j < T::thread_columns; ++j)
        b[j] = shared.b[stage * Storage::B::size + Storage::B::at(my_column + j / 4 * column_step + j % 4, term)];
#pragma unroll
      for (int i = 0; i < T::thread_rows; ++i)
#pragma unroll
        for (int j = 0; j < T::thread_columns; ++j) sums[i][j] = __fmaf_rn(a[i], b[j], sums[i][j]);
    }
    // The other stage was last read before the barrier that ended the step before this one.
    if (more) store(1 - stage);
    __syncthreads();
    stage = 1 - stage;
  }

#pragma unroll
  for (int i = 0; i < T::thread_rows; i += 4)
#pragma unroll
    for (int j = 0; j < T::thread_columns; j += 4) {
      const std::int64_t row = row0 + my_row + i / 4 * row_step, column = column0 + my_column + j / 4 * column_step;
      Quad z;
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) z.sum[r][c] = sums[i + r][j + c];
      finish_chunk(view, batch, chunk, row, column, z, partial);
    }
}

/// Four neighbouring sums of chunks [first, last), joined by the pair tree; first is a multiple of a power of two that is not less
/// than their number, so that they are a subtree. Eight chunks at a time, whose loads are under way together.
template <class Fill>
__device__ QuadLine join_lines(std::int64_t first, std::int64_t last, const Fill& fill) {
  constexpr int together = 8;
  QuadLine tree[tree_levels], line[together];
  int height = 0;
  const auto join = [&](int below, int top) {
    for (int j = 0; j < 4; ++j) tree[below].sum[j] += tree[top].sum[j];
  };
  std::int64_t chunk = first;
  for (; chunk + together <= last; chunk += together) {
#pragma unroll
    for (int c = 0; c < together; ++c) fill(chunk + c, line[c]);
#pragma unroll
    for (int apart = 1; apart < together; apart *= 2)
#pragma unroll
      for (int c = 0; c < together; c += 2 * apart)
#pragma unroll
        for (int j = 0; j < 4; ++j) line[c].sum[j] += line[c + apart].sum[j];
    tree[height] = line[0];
    height = order::tree_push((chunk - first) / together, height, join);
  }
  for (; chunk < last; ++chunk) {
    fill(chunk, tree[height]);
    height = order::tree_push(chunk - first, height, join);
  }
  order::tree_finish(height, join);
  return height > 0 ? tree[0] : QuadLine{};
}

/// The pair tree over the chunks. A warp has two neighbouring quads: of each, four lanes share the chunks of a row.
template <class View>
__global__ void __launch_bounds__(block_threads) join_chunks(View view, const float* partial) {
  constexpr int shares = 4;
  const int lane = static_cast<int>(threadIdx.x % warp), right = lane % 2, share = lane / 2 % shares, mine = lane / 8;
  const std::int64_t across = (view.columns + 7) / 8, lines = (view.rows + 3) / 4;
  std::int64_t span = 1;
  while (span * shares < view.chunks) span *= 2;
  const std::int64_t first = share * span, end = first + span < view.chunks ? first + span : view.chunks;
  for (std::int64_t item = global_thread() / warp; item < lines * across * view.batches;
       item += global_threads() / warp) {
    const std::int64_t column = item % across * 8 + right * 4, row = item / across % lines * 4;
    const std::int64_t batch = item / across / lines, count = view.columns - column;
    QuadLine line = join_lines(first, row + mine < view.rows ? end : first, [&](std::int64_t chunk, QuadLine& sums) {
      const std::int64_t at = ((batch * view.chunks + chunk) * view.rows + row + mine) * view.columns + column;
      if (count >= 4 && at % 4 == 0) return read_four(partial + at, sums.sum);
#pragma unroll
      for (int j = 0; j < 4; ++j) sums.sum[j] = j < count ? partial[at + j] : 0.f;
    });
#pragma unroll
    for (int apart = 1; apart < shares; apart *= 2)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float other = __shfl_down_sync(whole_warp, line.sum[j], static_cast<unsigned>(2 * apart));
        if (share % (2 * apart) == 0 && (share + apart) * span < view.chunks) line.sum[j] += other;
      }
    Quad z;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) z.sum[i][j] = __shfl_sync(whole_warp, line.sum[j], i * 8 + right);
    if (lane < 2) view.finish(batch, row, column, z);
  }
}

template <class T, class View>
void run_tiled(const Call& call, const View& view) {
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(view.rows, T::rows), blocks(view.columns, T::columns),
                  static_cast<unsigned>(view.batches * view.chunks));
  launch(call, contract_tiled<T, View>, grid, dim3(T::threads), sizeof(TiledStorage<T>), view,
         static_cast<float*>(call.workspace));
}

/// True where tiles of this size give every multiprocessor of a large GPU something to do.
template <class View>
bool fills_gpu(const View& view, int rows, int columns) {
  const std::int64_t tiles = ((view.rows + rows - 1) / rows) * ((view.columns + columns - 1) / columns);
  return tiles * view.batches * view.chunks >= 128;
}

template <class View>
void run_join(const Call& call, const View& view) {
  const std::int64_t pairs = ((view.rows + 3) / 4) * ((view.columns + 7) / 8) * view.batches;
  launch(call, join_chunks<View>, blocks_for(pairs * warp), dim3(block_threads), 0, view,
         static_cast<const float*>(call.workspace));
}

/// The largest tiles that fill a large GPU; the smallest where none does.
template <class View>
void run_contraction(const Call& call, const View& view) {
  if (view.rows * view.columns * view.batches == 0) return;
  if (view.columns > 64 && fills_gpu(view, 128, 128))
    run_tiled<Tile<128, 128, 8, 8>>(call, view);
  else if (view.columns > 32 && fills_gpu(view, 128, 64))
    run_tiled<Tile<128, 64, 8, 4>>(call, view);
  else if (fills_gpu(view, 64, 32))
    run_tiled<Tile<64, 32, 4, 4>>(call, view);
  else
    run_tiled<Tile<16, 32, 4, 4>>(call, view);
  if (view.chunks > 1) run_join(call, view);
}

template <class View>
void run_naive(const Call& call, const View& view) {
  const std::int64_t quads = ((view.rows + 3) / 4) * ((view.columns + 3) / 4) * view.batches;
  if (quads > 0) launch(call, contract_naive<View>, blocks_for(quads), dim3(block_threads), 0, view);
}

}  // namespace tenon::cuda
