// The contractions of contraction.cuh for products: the same views, the same order and so the same bits. What differs is how operands
// come to the multiplication. A slab is a block's tile of both operands for some terms; several are in shared memory, so that a
// block asks for thousands of terms at a time and does not wait for memory between any two.
//
// Layout. Operands come by cp.async, sixteen bytes at a time where memory has side by side what shared memory has, else four. Where
// terms are neighbours in memory they stay neighbours: a thread reads four terms of a line at once. A gradient comes as it lies in
// memory, and whoever copied a part undoes the epilogue in it, with saved values that were asked for a slab earlier. In a warp there
// are four threads down and eight across.
//
//   SlabTile               what a block has: with many sums a thread for large products, with few for small ones, where threads are
//                          scarce and a chain's terms have to follow one another without a pause
//   chunks of 1024 terms   are blocks of their own, joined by join_chunks, or, where tiles alone fill the GPU, follow one another in
//                          a block, whose threads keep the pair tree's sums in the workspace, each its own
//
// Rows of ones, which sum bias gradients, are written once. Error: that of the chains, as on the CPU.
#pragma once
#include <type_traits>

#include "kernels/cuda/contraction.cuh"

namespace tenon::cuda {

template <int rows_, int columns_, int thread_rows_, int thread_columns_, int depth_, int stages_, int blocks_>
struct SlabTile {
  static constexpr int rows = rows_, columns = columns_, thread_rows = thread_rows_, thread_columns = thread_columns_;
  static constexpr int depth = depth_,
                       stages = stages_;  // terms of a slab; slabs in shared memory where they are copied
  static constexpr int blocks = blocks_;  // that a multiprocessor shall hold
  static constexpr int across = columns / thread_columns, threads = rows / thread_rows * across;
  static constexpr int quad_rows = thread_rows < 4 ? thread_rows : 4;  // neighbours of a thread
  static constexpr int row_step = rows / (thread_rows / quad_rows), column_step = columns / (thread_columns / 4);
  static_assert(across % 8 == 0 && threads % 32 == 0 && thread_columns % 4 == 0 && depth % 8 == 0);
};

/// Line by line as they come: for threads whose lines are neighbours of those of other lanes.
template <int lines_, int depth_>
struct LinesInOrder {
  static constexpr bool by_lines = false;
  static constexpr int lines = lines_, depth = depth_, pitch = depth + 4, size = lines * pitch;
  __device__ static int at(int line, int word) { return line * pitch + word; }
  __device__ static int line(int i) { return i; }
};

/// One operand of a block.
template <class Side, class Layout, int threads, int stages, int stage_size>
class SlabOperand {
  static constexpr int quads = Layout::lines * Layout::depth / 4, units = (quads + threads - 1) / threads;
  static constexpr int words = Layout::lines * Layout::depth / threads;
  static_assert(Layout::lines * Layout::depth % threads == 0);

 public:
  __device__ SlabOperand(const Side& side, int thread, std::int64_t first_line)
      : side_(side),
        thread_(thread),
        lines_(lines_there<Layout>(side, first_line)),
        first_line_(first_line),
        by_fours_(side.reading() == (Layout::by_lines ? Reading::four_lines : Reading::four_terms)) {}

  /// Lines of ones are there once and for all.
  template <class Array>
  __device__ void write_ones(Array& shared, int base) const {
    if constexpr (Side::plain) {
#pragma unroll 1
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        if (at.line >= lines_ || !is_ones(at.line)) continue;
        for (int s = 0; s < stages; ++s) shared[base + s * stage_size + Layout::at(at.line, at.word)] = 1.f;
      }
    }
  }

  /// Starts to copy terms [begin, begin + depth) to shared memory from `base` on. Those behind `last`, and lines that there are not,
  /// are 0.
  template <class Array>
  __device__ void copy(Array& shared, int base, int begin, int last) const {
    if (by_fours_) {
#pragma unroll
      for (int u = 0; u < units; ++u) {
        const TilePart at = quad(u);
        if (!at.there || (Side::plain && at.line < lines_ && is_ones(at.line))) continue;
        const bool valid = at.line < lines_ && begin + at.word < last;
        cp_async_16(shared.at(base + Layout::at(at.line, at.word)), valid ? source(at, begin) : nullptr, valid);
      }
    } else {
#pragma unroll 2
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        if (Side::plain && at.line < lines_ && is_ones(at.line)) continue;
        const bool valid = at.line < lines_ && begin + at.word < last;
        cp_async_4(shared.at(base + Layout::at(at.line, at.word)), valid ? source(at, begin) : nullptr, valid);
      }
    }
  }

  /// What it takes to undo an epilogue in the terms from `begin` on, in registers until then.
  __device__ void ask(int begin, int last) {
    if constexpr (!Side::plain) {
      const Undo& undo = side_.view.undo;
      if (undo.saved == nullptr || !by_fours_) return;
#pragma unroll
      for (int u = 0; u < units; ++u) {
        const TilePart at = quad(u);
        if (!at.there || at.line >= lines_ || begin + at.word >= last) continue;
        const std::int64_t i = source(at, begin) - undo.gy;
        if (undo.mask)
          saved_[u].x = *reinterpret_cast<const unsigned*>(static_cast<const std::uint8_t*>(undo.saved) + i);
        else
          saved_[u] = *reinterpret_cast<const uint4*>(static_cast<const float*>(undo.saved) + i);
      }
    }
  }
  /// Undoes it in what the thread itself copied, which has arrived.
  template <class Array>
  __device__ void undo(Array& shared, int base, int begin, int last) const {
    if constexpr (!Side::plain) {
      const Undo& undo = side_.view.undo;
      if (undo.saved == nullptr) return;
      if (by_fours_) {
#pragma unroll
        for (int u = 0; u < units; ++u) {
          const TilePart at = quad(u);
          if (!at.there || at.line >= lines_ || begin + at.word >= last) continue;
          float* here = shared.at(base + Layout::at(at.line, at.word));
          store_4(here, undone(undo, load_4(here), saved_[u]));
        }
      } else {
#pragma unroll 1
        for (int u = 0; u < words; ++u) {
          const TilePart at = single(u);
          if (at.line < lines_ && begin + at.word < last)
            shared[base + Layout::at(at.line, at.word)] = undo.at(source(at, begin) - undo.gy, 0);
        }
      }
    }
  }

 private:
  [[nodiscard]] __device__ TilePart quad(int u) const {
    if constexpr (Layout::by_lines)
      return lines_of_word<Layout, threads>(thread_, u);
    else
      return words_of_line<Layout, 4, threads>(thread_, u);
  }
  [[nodiscard]] __device__ TilePart single(int u) const {
    const int id = thread_ + u * threads;
    if (side_.reading() == Reading::lines || side_.reading() == Reading::four_lines)
      return {id % Layout::lines, id / Layout::lines, true};
    return words_of_line<Layout, 1, threads>(thread_, u);
  }
  [[nodiscard]] __device__ bool is_ones(int line) const { return side_.place(first_line_ + line).at < 0; }
  [[nodiscard]] __device__ const float* source(const TilePart& at, int begin) const {
    return side_.source(side_.place(first_line_ + at.line), begin + at.word);
  }
  __device__ static float4 undone(const Undo& undo, float4 g, uint4 saved) {
    float v[4] = {g.x, g.y, g.z, g.w};
    if (undo.mask) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = (saved.x >> (8 * j) & 0xff) == 0 ? v[j] * undo.scale : 0.f;
    } else {
      const unsigned bits[4] = {saved.x, saved.y, saved.z, saved.w};
      if (undo.activation == op::UnaryFn::relu) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = __uint_as_float(bits[j]) <= 0.f ? 0.f : v[j];
      } else {
#pragma unroll 1
        for (int j = 0; j < 4; ++j) v[j] = unary_gradient(undo.activation, undo.alpha, v[j], __uint_as_float(bits[j]));
      }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
  }

  Side side_;
  int thread_, lines_;
  std::int64_t first_line_;
  bool by_fours_;
  uint4 saved_[Side::plain ? 1 : units];
};

/// How a tile's operands come to shared memory and lie there.
template <class T, class View>
struct SlabLoads {
  template <int lines, bool by_lines, bool permuted>
  using Layout =
      std::conditional_t<by_lines, WordByWord<lines, T::depth, 4>,
                         std::conditional_t<permuted, LineByLine<lines, T::depth>, LinesInOrder<lines, T::depth>>>;
  using ALayout = Layout<T::rows, View::a_by_lines, (T::thread_rows >= 4)>;
  using BLayout = Layout<T::columns, View::b_by_lines, true>;
  static constexpr int stage = ALayout::size + BLayout::size;
  using A = SlabOperand<SideA<View>, ALayout, T::threads, T::stages, stage>;
  using B = SlabOperand<SideB<View>, BLayout, T::threads, T::stages, stage>;
  Shared<float, T::stages * stage> words;
  static_assert(T::stages * stage * 4 <= 99 * 1024);
};

/// Lines of a thread at one term (`by_lines`) or at four: v[line][term]. They are neighbours, four by four `step` apart.
template <class Layout, int count, int step, class Array>
__device__ void load_terms(Array& shared, int base, int line, int term, float v[count][4]) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const float4 four = load_4(shared.at(base + Layout::at(line + i / 4 * step + i % 4, term)));
    v[i][0] = four.x;
    v[i][1] = four.y;
    v[i][2] = four.z;
    v[i][3] = four.w;
  }
}
template <class Layout, int count, int step, class Array>
__device__ void load_lines(Array& shared, int base, int line, int term, float v[count]) {
  if constexpr (count == 2) {
    const float2 two = load_2(shared.at(base + Layout::at(line, term)));
    v[0] = two.x;
    v[1] = two.y;
  } else if constexpr (count < 4) {
#pragma unroll
    for (int i = 0; i < count; ++i) v[i] = shared[base + Layout::at(line + i, term)];
  } else {
#pragma unroll
    for (int i = 0; i < count; i += 4) {
      const float4 four = load_4(shared.at(base + Layout::at(line + i / 4 * step, term)));
      v[i] = four.x;
      v[i + 1] = four.y;
      v[i + 2] = four.z;
      v[i + 3] = four.w;
    }
  }
}

/// A slab's first `terms` terms, rounded up to four: those behind the last are zeros.
template <class T, class Loads, class Array>
__device__ void multiply_slab(Array& shared, int base, int row, int column, int terms,
                              float sums[T::thread_rows][T::thread_columns]) {
  using A = typename Loads::ALayout;
  using B = typename Loads::BLayout;
  constexpr int rows = T::thread_rows, columns = T::thread_columns;
  const auto four = [&](int term) {
    float a[rows][4], b[columns][4];
    if constexpr (!A::by_lines) load_terms<A, rows, T::row_step>(shared, base, row, term, a);
    if constexpr (!B::by_lines) load_terms<B, columns, T::column_step>(shared, base + A::size, column, term, b);
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      float u[rows], v[columns];
      if constexpr (A::by_lines) {
        load_lines<A, rows, T::row_step>(shared, base, row, term + t, u);
      } else {
#pragma unroll
        for (int i = 0; i < rows; ++i) u[i] = a[i][t];
      }
      if constexpr (B::by_lines) {
        load_lines<B, columns, T::column_step>(shared, base + A::size, column, term + t, v);
      } else {
#pragma unroll
        for (int j = 0; j < columns; ++j) v[j] = b[j][t];
      }
#pragma unroll
      for (int i = 0; i < rows; ++i)
#pragma unroll
        for (int j = 0; j < columns; ++j) sums[i][j] = __fmaf_rn(u[i], v[j], sums[i][j]);
    }
  };
  // Enough in one piece that loads are far ahead of what is done with them.
  constexpr int together = rows * columns >= 64 ? 4 : rows * columns >= 32 ? 8 : 16;
  int term = 0;
  for (; term + together <= terms; term += together) {
#pragma unroll
    for (int t = 0; t < together; t += 4) four(term + t);
  }
  for (; term < terms; term += 4) four(term);
}

/// A block has a tile of c, for one chunk or, `in_turn`, for all of them.
template <class T, class View>
__global__ void __launch_bounds__(T::threads, View::a_plain&& View::b_plain ? T::blocks : 1)
    contract_slabs(View view, bool in_turn, float* partial) {
  using Loads = SlabLoads<T, View>;
  auto& shared = shared_storage<Loads>().words;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, part = thread / 32;
  const auto layers = static_cast<std::int32_t>(in_turn ? 1 : view.chunks),
             layer = static_cast<std::int32_t>(blockIdx.z);
  const std::int32_t batch = layer / layers;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * T::rows;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.y) * T::columns;

  typename Loads::A a({view, batch}, thread, row0);
  typename Loads::B b({view, batch}, thread, column0);
  a.write_ones(shared, 0);
  b.write_ones(shared, Loads::ALayout::size);

  constexpr int warps_across = T::across / 8;
  const int my_row = (part / warps_across * 4 + lane / 8) * T::quad_rows;
  const int my_column = (part % warps_across * 8 + lane % 8) * 4;
  float sums[T::thread_rows][T::thread_columns] = {};
  // visit(row, column, four sums) for lines that there are.
  const auto for_lines = [&](const auto& visit) {
#pragma unroll
    for (int i = 0; i < T::thread_rows; ++i)
#pragma unroll
      for (int j = 0; j < T::thread_columns; j += 4) {
        const std::int64_t row = row0 + my_row + i / T::quad_rows * T::row_step + i % T::quad_rows;
        const std::int64_t column = column0 + my_column + j / 4 * T::column_step;
        if (row < view.rows && column < view.columns) visit(row, column, sums[i] + j);
      }
  };
  const auto place = [&](std::int64_t chunk, std::int64_t row, std::int64_t column) {
    return ((batch * view.chunks + chunk) * view.rows + row) * view.columns + column;
  };
  const auto save = [&](std::int64_t slot) {
    for_lines([&](std::int64_t row, std::int64_t column, float* four) {
      write_four(partial, place(slot, row, column), four, view.columns - column);
    });
  };
  const auto add_saved = [&](std::int64_t slot) {
    for_lines([&](std::int64_t row, std::int64_t column, float* four) {
      const std::int64_t at = place(slot, row, column);
      float below[4] = {};
      if (view.columns - column >= 4 && at % 4 == 0) {
        read_four(partial + at, below);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (column + j < view.columns) below[j] = partial[at + j];
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) four[j] = below[j] + four[j];
    });
  };

  const std::int32_t first_chunk = layer % layers,
                     chunks_end = in_turn ? static_cast<std::int32_t>(view.chunks) : first_chunk + 1;
  int height = 0;  // of the pair tree, without the sums in registers
  for (std::int32_t chunk = first_chunk; chunk < chunks_end; ++chunk) {
    if (chunk > first_chunk) {
#pragma unroll
      for (int i = 0; i < T::thread_rows; ++i)
#pragma unroll
        for (int j = 0; j < T::thread_columns; ++j) sums[i][j] = 0.f;
      __syncthreads();  // all are done with the slabs before
    }
    const auto first = static_cast<int>(view.first_term(chunk)), last = static_cast<int>(view.first_term(chunk + 1));
    const auto copy = [&](int begin, int stage) {
      if (begin < last) {
        a.copy(shared, stage * Loads::stage, begin, last);
        b.copy(shared, stage * Loads::stage + Loads::ALayout::size, begin, last);
      }
      cp_async_commit();
    };
#pragma unroll
    for (int s = 0; s + 1 < T::stages; ++s) copy(first + s * T::depth, s);
    a.ask(first, last);
    b.ask(first, last);
    int stage = 0;
    for (int begin = first; begin < last; begin += T::depth) {
      cp_async_wait<T::stages - 2>();
      a.undo(shared, stage * Loads::stage, begin, last);
      b.undo(shared, stage * Loads::stage + Loads::ALayout::size, begin, last);
      __syncthreads();  // this slab is there, and all are done with the one before, whose place the next copies take
      copy(begin + (T::stages - 1) * T::depth, stage == 0 ? T::stages - 1 : stage - 1);
      a.ask(begin + T::depth, last);
      b.ask(begin + T::depth, last);
      multiply_slab<T, Loads>(shared, stage * Loads::stage, my_row, my_column,
                              last - begin < T::depth ? last - begin : T::depth, sums);
      stage = stage + 1 == T::stages ? 0 : stage + 1;
    }
    if (!in_turn) break;
    for (std::int32_t i = chunk + 1; i % 2 == 0; i /= 2) add_saved(--height);
    if (chunk + 1 < chunks_end) save(height++);
  }
  while (height > 0) add_saved(--height);

  if (view.chunks > 1 && !in_turn) return save(first_chunk);
#pragma unroll
  for (int i = 0; i < T::thread_rows; i += T::quad_rows)
#pragma unroll
    for (int j = 0; j < T::thread_columns; j += 4) {
      Quad z = {};
#pragma unroll
      for (int r = 0; r < T::quad_rows; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) z.sum[r][c] = sums[i + r][j + c];
      const std::int64_t row = row0 + my_row + i / T::quad_rows * T::row_step;
      View mine = view;  // of a quad that is not whole, the rows behind belong to other threads
      if (T::quad_rows < 4 && row + T::quad_rows < view.rows) mine.rows = row + T::quad_rows;
      mine.finish(batch, row, column0 + my_column + j / 4 * T::column_step, z);
    }
}

template <class T, class View>
void run_slab_tile(const Call& call, const View& view, bool in_turn) {
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(view.rows, T::rows), blocks(view.columns, T::columns),
                  static_cast<unsigned>(view.batches * (in_turn ? 1 : view.chunks)));
  launch(call, contract_slabs<T, View>, grid, dim3(T::threads), sizeof(SlabLoads<T, View>), view, in_turn,
         static_cast<float*>(call.workspace));
}

using LargeSlabs = SlabTile<128, 128, 8, 8, 16, 4, 1>;
using MiddleSlabs = SlabTile<64, 64, 8, 4, 32, 3, 3>;
using SmallSlabs = SlabTile<32, 32, 2, 4, 64, 4, 2>;
using TinySlabs = SlabTile<16, 32, 1, 4, 64, 4, 2>;

template <class View>
void run_slabs(const Call& call, const View& view) {
  if (view.rows * view.columns * view.batches == 0) return;
  const auto tiles = [&](int rows, int columns) {
    return ((view.rows + rows - 1) / rows) * ((view.columns + columns - 1) / columns) * view.batches;
  };
  if (view.columns > 64 && tiles(128, 128) * view.chunks >= 128) {
    const bool in_turn = view.chunks > 1 && tiles(128, 128) >= 128;
    run_slab_tile<LargeSlabs>(call, view, in_turn);
    if (in_turn) return;
  } else if (view.columns > 32 && tiles(64, 64) * view.chunks >= 128) {
    run_slab_tile<MiddleSlabs>(call, view, false);
  } else if (tiles(32, 32) * view.chunks >= 64) {
    run_slab_tile<SmallSlabs>(call, view, false);
  } else {
    run_slab_tile<TinySlabs>(call, view, false);
  }
  if (view.chunks > 1) run_join(call, view);
}

}  // namespace tenon::cuda
