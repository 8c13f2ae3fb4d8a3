// The contractions of contraction.cuh on tensor cores: the same views, products of operands rounded to tf32, bf16 or fp16, sums in
// fp32. Rows of the classes `tf32`, `bf16` and `fp16`; their sums are in the hardware's order, the same in every run.
//
// A word of shared memory is one term in tf32 or two neighbouring terms in 16 bits, and then the fragments of both instructions lie
// alike (ptx.cuh): words t and t + 4 of rows g and g + 8. Lines are `depth` words and four more, so that the 8 x 4 words that a warp
// reads at once lie in 32 banks. Error: products (1 + u)^2 - 1 with u = 2^-11 (tf32, fp16) or 2^-8, of fp16 also 2^-25 of either factor
// where the other is below 2^-14; sums as those of fp32.
#pragma once
#include "kernels/cuda/contraction.cuh"
#include "kernels/cuda/ptx.cuh"

namespace tenon::cuda {

struct Tf32 {
  using Word = unsigned;
  static constexpr int terms = 1;  // in a word
  __device__ static unsigned word(const float* v) { return to_tf32(v[0]); }
  __device__ static void multiply(float d[4], const unsigned a[4], const unsigned b[2]) { mma_m16n8k8_tf32(d, a, b); }
};
struct Bf16 {
  using Word = unsigned;
  static constexpr int terms = 2;
  __device__ static unsigned word(const float* v) { return pack_bf16x2(v[0], v[1]); }
  __device__ static void multiply(float d[4], const unsigned a[4], const unsigned b[2]) { mma_m16n8k16_bf16(d, a, b); }
};
struct Fp16 {
  using Word = unsigned;
  static constexpr int terms = 2;
  __device__ static unsigned word(const float* v) { return pack_f16x2(v[0], v[1]); }
  __device__ static void multiply(float d[4], const unsigned a[4], const unsigned b[2]) { mma_m16n8k16_f16(d, a, b); }
};

/// Sizes of a block's tile of c, and of a warp's part of it.
template <class Format_, int rows_, int columns_, int warp_rows_, int warp_columns_>
struct MmaTile {
  using Format = Format_;
  static constexpr int rows = rows_, columns = columns_, warp_rows = warp_rows_, warp_columns = warp_columns_;
  static constexpr int across = columns / warp_columns, warps = rows / warp_rows * across, threads = warps * 32;
  static constexpr int depth = 16;  // words in shared memory at a time: two instructions deep
  static constexpr int pitch = depth + 4;
  static constexpr int tiles_down = warp_rows / 16, tiles_across = warp_columns / 8;
  static constexpr int c_rows = rows < 64 ? rows : 64, c_pitch = columns + 4;  // of sums in shared memory at a time
  /// That a multiprocessor shall hold. Told nothing, ptxas takes too few registers for some tiles and spills.
  static constexpr int blocks = tiles_down * tiles_across == 1 ? 4 : threads < 256 ? 3 : 1;
  static_assert(warp_rows % 16 == 0 && warp_columns % 8 == 0);
};

/// The operands, and, when they are done with, the sums on their way to the view.
template <class T>
struct MmaStorage {
  Shared<unsigned, 2 * T::rows * T::pitch> a;
  Shared<unsigned, 2 * T::columns * T::pitch> b;
  Shared<float, T::c_rows * T::c_pitch> c;
  // What a block of compute capability 8.6 may have.
  static_assert(4 * (2 * (T::rows + T::columns) * T::pitch + T::c_rows * T::c_pitch) <= 99 * 1024);
  static_assert(T::c_rows % T::warp_rows == 0 && T::rows % T::c_rows == 0);
};

template <class T, class View>
__global__ void __launch_bounds__(T::threads, T::blocks) contract_mma(View view, float* partial) {
  using Format = typename T::Format;
  using Storage = MmaStorage<T>;
  Storage& shared = shared_storage<Storage>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_number = thread / 32;
  const int group = lane / 4, in_group = lane % 4;
  const std::int64_t batch = blockIdx.z / view.chunks, chunk = blockIdx.z % view.chunks;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * T::rows;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.y) * T::columns;
  const std::int64_t first = view.first_term(chunk), last = view.first_term(chunk + 1);

  const auto row_of = [&](std::int64_t i) { return view.row(batch, i); };
  const auto column_of = [&](std::int64_t j) { return view.column(batch, j); };
  const auto a_one = [&](const auto& row, std::int64_t term) { return view.a(row, term); };
  const auto b_one = [&](const auto& column, std::int64_t term) { return view.b(column, term); };
  const auto a_four = [&](const auto& row, std::int64_t term, float* v) { view.a_four(row, term, v); };
  const auto b_four = [&](const auto& column, std::int64_t term, float* v) { view.b_four(column, term, v); };
  Operand<Format, typename View::Row, T::rows, T::depth, T::threads, T::pitch, 1> a_tile(view.a_reading, thread, row0,
                                                                                         view.rows, row_of);
  Operand<Format, typename View::Column, T::columns, T::depth, T::threads, T::pitch, 1> b_tile(
      view.b_reading, thread, column0, view.columns, column_of);
  const auto fetch = [&](std::int64_t begin) {
    a_tile.fetch(begin, last, row_of, a_one, a_four);
    b_tile.fetch(begin, last, column_of, b_one, b_four);
  };
  const auto store = [&](int stage) {
    a_tile.store(shared.a, stage * T::rows * T::pitch);
    b_tile.store(shared.b, stage * T::columns * T::pitch);
  };

  float sums[T::tiles_down][T::tiles_across][4] = {};
  const int my_row = warp_number / T::across * T::warp_rows, my_column = warp_number % T::across * T::warp_columns;
  constexpr int step_terms = T::depth * Format::terms;
  fetch(first);
  store(0);
  __syncthreads();
  int stage = 0;
  for (std::int64_t begin = first; begin < last; begin += step_terms) {
    const bool more = begin + step_terms < last;
    if (more) fetch(begin + step_terms);
#pragma unroll
    for (int word = 0; word < T::depth; word += 8) {
      unsigned a[T::tiles_down][4], b[T::tiles_across][2];
#pragma unroll
      for (int i = 0; i < T::tiles_down; ++i) {
        const int at = (stage * T::rows + my_row + i * 16 + group) * T::pitch + word + in_group;
        a[i][0] = shared.a[at];
        a[i][1] = shared.a[at + 8 * T::pitch];
        a[i][2] = shared.a[at + 4];
        a[i][3] = shared.a[at + 8 * T::pitch + 4];
      }
#pragma unroll
      for (int j = 0; j < T::tiles_across; ++j) {
        const int at = (stage * T::columns + my_column + j * 8 + group) * T::pitch + word + in_group;
        b[j][0] = shared.b[at];
        b[j][1] = shared.b[at + 4];
      }
#pragma unroll
      for (int i = 0; i < T::tiles_down; ++i)
#pragma unroll
        for (int j = 0; j < T::tiles_across; ++j) Format::multiply(sums[i][j], a[i], b[j]);
    }
    // The other stage was last read before the barrier that ended the step before this one.
    if (more) store(1 - stage);
    __syncthreads();
    stage = 1 - stage;
  }

  // A view takes four rows by four columns, a thread has pairs of columns of rows 8 apart: they change places in shared memory,
  // some rows at a time.
  for (int top = 0; top < T::rows; top += T::c_rows) {
    if (my_row >= top && my_row < top + T::c_rows) {
#pragma unroll
      for (int i = 0; i < T::tiles_down; ++i)
#pragma unroll
        for (int j = 0; j < T::tiles_across; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            shared.c[(my_row - top + i * 16 + group + e / 2 * 8) * T::c_pitch + my_column + j * 8 + in_group * 2 +
                     e % 2] = sums[i][j][e];
    }
    __syncthreads();
    constexpr int quads_across = T::columns / 4, quads = T::c_rows / 4 * quads_across;
    for (int quad = thread; quad < quads; quad += T::threads) {
      const int r0 = quad / quads_across * 4, c0 = quad % quads_across * 4;
      Quad z;
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) z.sum[r][c] = shared.c[(r0 + r) * T::c_pitch + c0 + c];
      finish_chunk(view, batch, chunk, row0 + top + r0, column0 + c0, z, partial);
    }
    if (top + T::c_rows < T::rows) __syncthreads();
  }
}

template <class T, class View>
void run_mma_tile(const Call& call, const View& view) {
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(view.rows, T::rows), blocks(view.columns, T::columns),
                  static_cast<unsigned>(view.batches * view.chunks));
  launch(call, contract_mma<T, View>, grid, dim3(T::threads), sizeof(MmaStorage<T>), view,
         static_cast<float*>(call.workspace));
}

/// As run_contraction: the largest tiles that fill a large GPU, else the smallest.
template <class Format, class View>
void run_mma(const Call& call, const View& view) {
  if (view.rows * view.columns * view.batches == 0) return;
  if (view.columns > 64 && fills_gpu(view, 128, 128))
    run_mma_tile<MmaTile<Format, 128, 128, 64, 32>>(call, view);
  else if (view.columns > 32 && fills_gpu(view, 128, 64))
    run_mma_tile<MmaTile<Format, 128, 64, 32, 32>>(call, view);
  else if (fills_gpu(view, 64, 32))
    run_mma_tile<MmaTile<Format, 64, 32, 32, 16>>(call, view);
  else
    run_mma_tile<MmaTile<Format, 32, 16, 16, 8>>(call, view);
  if (view.chunks > 1) run_join(call, view);
}

/// A gradient whose bias gradient comes along: that one sums in fp32, as its bound says, and reads dz once more.
template <class Format, class View>
void run_mma_with_bias(const Call& call, const View& view) {
  run_mma<Format>(call, without_bias(view));
  if (view.gbias != nullptr) run_contraction(call, only_bias(view));
}

}  // namespace tenon::cuda
