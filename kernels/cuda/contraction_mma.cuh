// The contractions of contraction.cuh on tensor cores: the same views, products of operands rounded to tf32, bf16 or fp16, sums in
// fp32. Rows of the classes `tf32`, `bf16` and `fp16`; their sums are in the hardware's order, the same in every run.
//
// Shared memory. A word is one term in tf32 or two neighbouring terms in 16 bits, and then the fragments of both instructions lie
// alike (ptx.cuh): words t and t + 4 of lines g. Which line of the tile is which line of a fragment is ours to choose, and sums
// are easier to finish where a thread has them in quads: of every 32 lines, line g of fragment q is line 4 g + q. Then
//   - the sums of a thread, over two fragments of a and four of b, are rows 4 g .. 4 g + 3 and columns 8 t .. 8 t + 7: two quads.
//     Bias, activation, a 2x2 pool and dropout happen in registers, and a row of a quad is written as 16 bytes;
//   - word by word, the lines that a lane needs of four fragments are neighbours: one load of 16 bytes. Lines that are 8 words
//     more than a multiple of 32 apart spread those of a quarter of a warp over all banks;
//   - line by line, lines are stored in the order of the fragments, for ldmatrix: rows of 16 bytes, 4 words more than a multiple
//     of 16 apart, and so in different banks.
//
// Loads. In 16 bits a term takes two bytes in shared memory and four in memory: copied as it is, a stage would take twice the space,
// and its fragments twice the traffic, which is what limits these tiles (64 x 32 sums of a warp read 24 cycles' worth of shared
// memory for 16 cycles of products). So operands in bf16 and fp16 go through registers, which hold one tile that is under way. In tf32 a
// term takes four bytes in both places: where 16 bytes side by side in memory are side by side in shared memory, they go by
// cp.async, two tiles ahead and with no register, and are rounded when they become fragments: twice as many roundings in a tile
// that two warps read, in a pipe that has nothing else to do. What has to be computed on the way (a gradient whose epilogue is
// undone) stays with the registers, one tile ahead.
//
// A tile with few sums has its warps share the words of a stage, and adds their sums in the order of the words: `split`.
//
// Error: products (1 + u)^2 - 1 with u = 2^-11 (tf32, fp16) or 2^-8, of fp16 also 2^-25 of either factor where the other is below
// 2^-14; sums as those of fp32.
#pragma once
#include <type_traits>

#include "kernels/cuda/bias_sums.cuh"
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

/// Sizes of a block's tile of c, and of a warp's part of it; `split` warps share the words of a part.
template <class Format_, int rows_, int columns_, int warp_rows_, int split_ = 1>
struct MmaTile {
  using Format = Format_;
  static constexpr int rows = rows_, columns = columns_, warp_rows = warp_rows_, warp_columns = 32, split = split_;
  static constexpr int across = columns / warp_columns, parts = rows / warp_rows * across, threads = parts * split * 32;
  static constexpr int depth = split == 4 ? 32 : 16;  // words in shared memory at a time; an instruction takes eight
  static constexpr int down = warp_rows / 32;         // groups of 32 rows of a warp
  static constexpr int sums = down * 32;              // of a thread
  /// That a multiprocessor shall hold, at least: those of 64 rows (MmaTiles) need some more registers than a third of all. Told
  /// nothing, ptxas takes too few for some tiles and spills.
  static constexpr int blocks = threads == 256 ? 1 : rows == 64 ? 2 : 3;
  static_assert(rows % warp_rows == 0 && warp_rows % 32 == 0 && columns % 32 == 0);
  static_assert(split == 1 || split == 2 || split == 4);
};

/// How a tile's operands come to shared memory and lie there. `copies`: those that are plain go by cp.async.
template <class T, class View, bool copies>
struct MmaLoads {
  template <int lines, bool by_lines>
  using Layout = std::conditional_t<by_lines, WordByWord<lines, T::depth, 8>, LineByLine<lines, T::depth>>;
  template <class Side, class L>
  using Operand = std::conditional_t<copies && Side::plain, CopiedOperand<Side, L, T::threads>,
                                     StagedOperand<typename T::Format, Side, L, T::threads>>;
  using ALayout = Layout<T::rows, View::a_by_lines>;
  using BLayout = Layout<T::columns, View::b_by_lines>;
  using A = Operand<SideA<View>, ALayout>;
  using B = Operand<SideB<View>, BLayout>;
  static constexpr bool round_a = copies && View::a_plain, round_b = copies && View::b_plain;
  static constexpr int stages = copies ? 3 : 2, stage = ALayout::size + BLayout::size;
  static constexpr int shares =
      (T::split - 1) * T::parts * 32 * T::sums;  // what all but the first warp of a part hand over
  static constexpr int words = stages * stage > shares ? stages* stage : shares;
  static_assert(!copies || T::Format::terms == 1);
  static_assert(words * 4 <= 99 * 1024);  // what a block of compute capability 8.6 may have
};

/// The operands, and, when they are done with, the sums of warps that share a part.
template <class Loads>
struct MmaStorage {
  Shared<unsigned, Loads::words> words;
};

/// Words t and t + 4 from `word` on, of lines 4 g + q from `line` on: f[q].
template <class Format, class Layout, bool round, class Array>
__device__ void load_fragments(Array& shared, int base, int line, int word, int lane, unsigned f[4][2]) {
  if constexpr (Layout::by_lines) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4 v = load_4(shared.at(base + Layout::at(line + lane / 4 * 4, word + lane % 4 + h * 4)));
      f[0][h] = v.x;
      f[1][h] = v.y;
      f[2][h] = v.z;
      f[3][h] = v.w;
    }
  } else {
#pragma unroll
    for (int q = 0; q < 4; q += 2) {
      const int slot = line + q * 8 + lane / 16 * 8 + lane % 8;  // lines of the tile are a multiple of 32 before it
      unsigned r[4];
      ldmatrix_x4(r, shared.at(base + slot * Layout::pitch + word + lane / 8 % 2 * 4));
      f[q][0] = r[0];
      f[q][1] = r[1];
      f[q + 1][0] = r[2];
      f[q + 1][1] = r[3];
    }
  }
  if constexpr (round) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float v = __uint_as_float(f[i / 2][i % 2]);
      f[i / 2][i % 2] = Format::word(&v);
    }
  }
}

/// A part's sums += the products of eight words of a stage.
template <class T, class Loads, class Array>
__device__ void multiply_words(Array& shared, int base, int row, int column, int word, int lane,
                               float sums[T::down][2][4][4]) {
  using Format = typename T::Format;
  unsigned b[4][2];
  load_fragments<Format, typename Loads::BLayout, Loads::round_b>(shared, base + Loads::ALayout::size, column, word,
                                                                  lane, b);
#pragma unroll
  for (int r = 0; r < T::down; ++r) {
    unsigned a[4][2];
    load_fragments<Format, typename Loads::ALayout, Loads::round_a>(shared, base, row + r * 32, word, lane, a);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const unsigned fragment[4] = {a[2 * i][0], a[2 * i + 1][0], a[2 * i][1], a[2 * i + 1][1]};
#pragma unroll
      for (int j = 0; j < 4; ++j) Format::multiply(sums[r][i][j], fragment, b[j]);
    }
  }
}

/// Adds the sums of the warps that share a part to those of the first, in order. False for the others.
template <class T, class Array>
__device__ bool add_shares(Array& shared, int share, int part, int lane, float sums[T::down][2][4][4]) {
  constexpr int lanes = T::parts * 32;
  const auto at = [&](int s, int i) { return ((s - 1) * T::sums + i) * lanes + part * 32 + lane; };
  __syncthreads();  // the operands are done with
  if (share > 0) {
#pragma unroll
    for (int i = 0; i < T::sums; ++i)
      shared[at(share, i)] = __float_as_uint(sums[i / 32][i / 16 % 2][i / 4 % 4][i % 4]);
  }
  __syncthreads();
  if (share > 0) return false;
#pragma unroll
  for (int i = 0; i < T::sums; ++i)
#pragma unroll
    for (int s = 1; s < T::split; ++s)
      sums[i / 32][i / 16 % 2][i / 4 % 4][i % 4] += __uint_as_float(static_cast<unsigned>(shared[at(s, i)]));
  return true;
}

template <class T, class View, bool copies>
__global__ void __launch_bounds__(T::threads, T::blocks) contract_mma(View view, float* partial) {
  using Loads = MmaLoads<T, View, copies>;
  auto& shared = shared_storage<MmaStorage<Loads>>().words;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int part = thread / 32 % T::parts, share = thread / 32 / T::parts;
  const std::int64_t batch = blockIdx.z / view.chunks, chunk = blockIdx.z % view.chunks;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * T::rows;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.y) * T::columns;
  const auto first = static_cast<int>(view.first_term(chunk)), last = static_cast<int>(view.first_term(chunk + 1));
  constexpr int step = T::depth * T::Format::terms;

  typename Loads::A a({view, batch}, thread, row0);
  typename Loads::B b({view, batch}, thread, column0);
  const auto copy = [&](int begin, int stage) {
    a.copy(shared, stage * Loads::stage, begin, last);
    b.copy(shared, stage * Loads::stage + Loads::ALayout::size, begin, last);
  };
  const auto fetch = [&](int begin) {
    a.fetch(begin, last);
    b.fetch(begin, last);
  };
  const auto store = [&](int stage) {
    a.store(shared, stage * Loads::stage);
    b.store(shared, stage * Loads::stage + Loads::ALayout::size);
  };
  const auto after = [](int stage) { return stage + 1 == Loads::stages ? 0 : stage + 1; };

  float sums[T::down][2][4][4] = {};
  const int my_row = part / T::across * T::warp_rows, my_column = part % T::across * T::warp_columns;
  if constexpr (copies) {
    copy(first, 0);
    cp_async_commit();
    if (last - first > step) copy(first + step, 1);
    cp_async_commit();
  }
  fetch(first);
  store(0);
  int stage = 0;
  for (int left = last - first; left > 0; left -= step) {
    // This stage is there. And all are done with the one before, whose place the next copies take.
    if constexpr (copies) cp_async_wait<1>();
    __syncthreads();
    if constexpr (copies) {
      if (left > 2 * step) copy(last - left + 2 * step, after(after(stage)));
      cp_async_commit();
    }
    const bool more = left > step;
    if (more) fetch(last - left + step);
#pragma unroll
    for (int turn = 0; turn < T::depth / 8 / T::split; ++turn)
      multiply_words<T, Loads>(shared, stage * Loads::stage, my_row, my_column, (turn * T::split + share) * 8, lane,
                               sums);
    stage = after(stage);
    if (more) store(stage);
  }

  if constexpr (T::split > 1) {
    if (!add_shares<T>(shared, share, part, lane, sums)) return;
  }
#pragma unroll
  for (int r = 0; r < T::down; ++r)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Quad z;
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) z.sum[i][j] = sums[r][i / 2][j][i % 2 * 2 + half];
      finish_chunk(view, batch, chunk, row0 + my_row + r * 32 + lane / 4 * 4,
                   column0 + my_column + lane % 4 * 8 + half * 4, z, partial);
    }
}

template <class T, bool copies, class View>
void run_mma_tile(const Call& call, const View& view) {
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(view.rows, T::rows), blocks(view.columns, T::columns),
                  static_cast<unsigned>(view.batches * view.chunks));
  launch(call, contract_mma<T, View, copies>, grid, dim3(T::threads), sizeof(MmaStorage<MmaLoads<T, View, copies>>),
         view, static_cast<float*>(call.workspace));
}

/// The tiles to choose from. Words on their way through registers are there a step after they were asked for, which is less than memory
/// takes: smaller tiles, with fewer sums a thread, let two or three blocks of a multiprocessor wait at a time.
template <class Format, bool staged>
struct MmaTiles {
  using Square = MmaTile<Format, 128, 128, 64>;
  using Tall = std::conditional_t<staged, MmaTile<Format, 64, 64, 32>, MmaTile<Format, 128, 64, 64>>;
  using Column = std::conditional_t<staged, MmaTile<Format, 64, 32, 32, 2>, MmaTile<Format, 128, 32, 64, 2>>;
  using Small = MmaTile<Format, 32, 32, 32, 4>;
};

/// As run_contraction: the largest tiles that fill a large GPU, else the smallest.
template <class Format, bool copies, class View>
void run_mma_tiles(const Call& call, const View& view) {
  using Tiles = MmaTiles<Format, !copies || !View::a_plain || !View::b_plain>;
  using Tall = typename Tiles::Tall;
  using Column = typename Tiles::Column;
  if (view.columns > 64 && fills_gpu(view, 128, 128))
    run_mma_tile<typename Tiles::Square, copies>(call, view);
  else if (view.columns > 32 && fills_gpu(view, Tall::rows, Tall::columns))
    run_mma_tile<Tall, copies>(call, view);
  else if (view.rows > 32 && fills_gpu(view, Column::rows, Column::columns))
    run_mma_tile<Column, copies>(call, view);
  else
    run_mma_tile<typename Tiles::Small, copies>(call, view);
}

/// True where every plain operand may be copied by 16 bytes in the layout that its tile has.
template <class View>
bool copies_fit(const View& view) {
  const auto usual = [](bool by_lines) { return by_lines ? Reading::four_lines : Reading::four_terms; };
  return (!View::a_plain || view.a_reading == usual(View::a_by_lines)) &&
         (!View::b_plain || view.b_reading == usual(View::b_by_lines));
}

template <class Format, class View>
void run_mma(const Call& call, const View& view) {
  if (view.rows * view.columns * view.batches == 0) return;
  bool copied = false;
  if constexpr (Format::terms == 1) {
    copied = copies_fit(view);
    if (copied) run_mma_tiles<Format, true>(call, view);
  }
  if (!copied) run_mma_tiles<Format, false>(call, view);
  if (view.chunks > 1) run_join(call, view);
}

/// A product or a gradient. A gradient's bias gradient comes along: that one sums in fp32, as its bound says, and reads dz once more.
template <class Format, class View>
void run_mma_with_bias(const Call& call, const View& view) {
  const View main = without_bias(view);
  run_mma<Format>(call, main);
  if constexpr (!View::a_plain || !View::b_plain) {
    // The sums of the chunks, which the workspace holds, are joined by then.
    const std::int64_t room = view.chunks > 1 ? view.batches * view.chunks * main.rows * main.columns : 0;
    if (view.gbias != nullptr) run_bias_sums(call, only_bias(view), room);
  }
}

}  // namespace tenon::cuda
