// Operations that move elements without computing: transpose, concat, slice and its gradient, broadcast_to. Layouts are
// merged by the binding code, so that runs are as long as they can be.
// Elements are moved as bits, in words of up to 16 bytes that divide all lengths. Threads own words of the output, in
// the order of memory; a transposition goes through tiles in shared memory, so that reads and writes both are.
#include <type_traits>

#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

using Word4 = std::uint32_t;
using Word8 = unsigned long long;
using Word16 = Lanes<std::uint32_t, 4>;

/// visit(a word) of the largest size that divides `bytes`, a combination of all lengths in question.
template <class Visitor>
void with_word(std::int64_t bytes, const Visitor& visit) {
  if (bytes % 16 == 0)
    visit(Word16{});
  else if (bytes % 8 == 0)
    visit(Word8{});
  else if (bytes % 4 == 0)
    visit(Word4{});
  else
    visit(std::uint8_t{});
}

/// Output extents and strides of x in words; 0 where it repeats.
struct Strides {
  std::int32_t rank;
  std::int64_t extent[8], stride[8];

  /// Where word i of the output comes from.
  [[nodiscard]] __device__ std::int64_t source(std::int64_t i) const {
    std::int64_t from = 0;
    for (int axis = rank - 1; axis > 0; --axis) {
      const std::int64_t quotient = i / extent[axis];
      from += (i - quotient * extent[axis]) * stride[axis];
      i = quotient;
    }
    return from + i * stride[0];
  }
};

std::int64_t product(const std::int64_t* extent, std::int32_t rank) {
  std::int64_t n = 1;
  for (std::int32_t a = 0; a < rank; ++a) n *= extent[a];
  return n;
}

/// One word of x fills an output word, or a value of x its four elements.
template <class To, class From>
__device__ To spread(const From& x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else
    return {{x, x, x, x}};
}

template <class To, class From>
__global__ void copy_strided(const __grid_constant__ Strides s, std::int64_t n, const From* x, To* y) {
  for_each_index(n, [&](std::int64_t i) { y[i] = spread<To>(x[s.source(i)]); });
}

/// The geometry in words of so many elements each; the last axis is contiguous, and all of it is divisible.
Strides in_words(const std::int64_t* extent, const std::int64_t* stride, std::int32_t rank, std::int64_t elements) {
  Strides s{rank, {}, {}};
  for (std::int32_t a = 0; a < rank; ++a) {
    s.extent[a] = a == rank - 1 ? extent[a] / elements : extent[a];
    s.stride[a] = a == rank - 1 ? stride[a] : stride[a] / elements;
  }
  return s;
}

/// The last axis of y is strided in x, and axis `unit` of y is contiguous in x: tiles over these two, others outside.
struct Tiles {
  std::int64_t rows, columns;  // extents of the unit axis and of the last one
  std::int64_t x_pitch, y_pitch;
  std::int64_t tile_rows, tile_columns, others;
  std::int32_t rank;  // of the others
  std::int64_t extent[8], in[8], out[8];
};
constexpr int tile = 32, tile_lines = static_cast<int>(block_threads) / tile;

template <class T>
struct TileStorage {
  Shared<T, tile*(tile + 1)> x;  // a column more, so that neither direction meets one bank
};

template <class T>
__global__ void __launch_bounds__(block_threads) transpose_tiles(const __grid_constant__ Tiles g, const T* x, T* y) {
  auto& shared = shared_storage<TileStorage<T>>();
  const int across = static_cast<int>(threadIdx.x) % tile, line = static_cast<int>(threadIdx.x) / tile;
  for (std::int64_t item = blockIdx.x; item < g.tile_rows * g.tile_columns * g.others; item += gridDim.x) {
    const std::int64_t row0 = item % g.tile_rows * tile, column0 = item / g.tile_rows % g.tile_columns * tile;
    std::int64_t rest = item / g.tile_rows / g.tile_columns, from = 0, to = 0;
    for (int axis = g.rank - 1; axis >= 0; --axis) {
      const std::int64_t at = rest % g.extent[axis];
      rest /= g.extent[axis];
      from += at * g.in[axis];
      to += at * g.out[axis];
    }
#pragma unroll
    for (int k = 0; k < tile; k += tile_lines) {
      const std::int64_t row = row0 + across, column = column0 + line + k;
      if (row < g.rows && column < g.columns)
        shared.x[(line + k) * (tile + 1) + across] = x[from + row + column * g.x_pitch];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < tile; k += tile_lines) {
      const std::int64_t row = row0 + line + k, column = column0 + across;
      if (row < g.rows && column < g.columns)
        y[to + row * g.y_pitch + column] = shared.x[across * (tile + 1) + line + k];
    }
    __syncthreads();
  }
}

Tiles tiles_of(const TransposeGeometry& g, std::int32_t unit) {
  const std::int32_t last = g.rank - 1;
  Tiles t{};
  t.rank = g.rank - 2;
  t.others = 1;
  std::int64_t y_stride = 1;
  for (std::int32_t a = last, b = t.rank; a >= 0; --a) {
    if (a == unit) t.y_pitch = y_stride;
    if (a != unit && a != last) {
      --b;
      t.extent[b] = g.extent[a];
      t.in[b] = g.stride[a];
      t.out[b] = y_stride;
      t.others *= g.extent[a];
    }
    y_stride *= g.extent[a];
  }
  t.rows = g.extent[unit];
  t.columns = g.extent[last];
  t.x_pitch = g.stride[last];
  t.tile_rows = (t.rows + tile - 1) / tile;
  t.tile_columns = (t.columns + tile - 1) / tile;
  return t;
}

/// Elements one by one in the order of y, or tile by tile where both axes fill a good part of a tile.
template <class T>
void transpose_elements(const Call& call, const TransposeGeometry& g) {
  constexpr std::int64_t enough = 8;
  std::int32_t unit = 0;
  while (unit < g.rank && g.stride[unit] != 1) ++unit;
  if (unit < g.rank - 1 && g.extent[unit] >= enough && g.extent[g.rank - 1] >= enough) {
    const Tiles t = tiles_of(g, unit);
    launch(call, transpose_tiles<T>, blocks_for(t.tile_rows * t.tile_columns * t.others, 1), dim3(block_threads),
           sizeof(TileStorage<T>), t, input<T>(call, 0), output<T>(call, 0));
    return;
  }
  const std::int64_t n = product(g.extent, g.rank);
  launch(call, copy_strided<T, T>, blocks_for(n), dim3(block_threads), 0, in_words(g.extent, g.stride, g.rank, 1), n,
         input<T>(call, 0), output<T>(call, 0));
}

/// Word i of part blockIdx.y, rows of `words` words each.
struct Parts {
  const void* x[16];
  std::int64_t words[16], at[16];  // of a row of the part; where it lies in a row of y
  std::int64_t outer, pitch;
};
template <class Word>
__global__ void join_parts(const __grid_constant__ Parts g, Word* y) {
  const int part = static_cast<int>(blockIdx.y);
  const std::int64_t words = g.words[part];
  const Word* x = static_cast<const Word*>(g.x[part]);
  y += g.at[part];
  for_each_index(g.outer * words, [&](std::int64_t i) {
    const std::int64_t row = i / words;
    y[row * g.pitch + (i - row * words)] = x[i];
  });
}

template <class Word>
__global__ void take_slice(SliceGeometry g, const Word* x, Word* y) {
  for_each_index(g.outer * g.length_bytes, [&](std::int64_t i) {  // all lengths in words
    const std::int64_t row = i / g.length_bytes;
    y[i] = x[row * g.extent_bytes + g.begin_bytes + (i - row * g.length_bytes)];
  });
}
template <class Word>
__global__ void put_slice(SliceGeometry g, const Word* gy, Word* gx) {
  for_each_index(g.outer * g.extent_bytes, [&](std::int64_t i) {
    const std::int64_t row = i / g.extent_bytes, at = i - row * g.extent_bytes - g.begin_bytes;
    gx[i] =
        at >= 0 && at < g.length_bytes ? gy[row * g.length_bytes + at] : Word{};  // all bits zero is 0 in every type
  });
}

SliceGeometry in_words(const SliceGeometry& g, std::int64_t size) {
  return {g.outer, g.extent_bytes / size, g.begin_bytes / size, g.length_bytes / size};
}

}  // namespace

void transpose(const Call& call) {
  const auto& g = state_of<TransposeGeometry>(call);
  const std::int32_t last = g.rank - 1;
  const std::int64_t n = product(g.extent, g.rank), size = g.element_bytes;
  if (n == 0) return;
  if (g.stride[last] == 1) {  // runs: in words as long as all of them allow
    std::int64_t bytes = g.extent[last] * size;
    for (std::int32_t a = 0; a < last; ++a) bytes |= g.stride[a] * size;
    return with_word(bytes, [&](auto word) {
      using Word = decltype(word);
      const auto elements = std::int64_t{sizeof(Word)} / size;
      launch(call, copy_strided<Word, Word>, blocks_for(n / elements), dim3(block_threads), 0,
             in_words(g.extent, g.stride, g.rank, elements), n / elements, input<Word>(call, 0), output<Word>(call, 0));
    });
  }
  if (size == 1)
    transpose_elements<std::uint8_t>(call, g);
  else if (size == 4)
    transpose_elements<Word4>(call, g);
  else
    transpose_elements<Word8>(call, g);
}

void concat(const Call& call) {
  const auto& g = state_of<ConcatGeometry>(call);
  std::int64_t bytes = 0, longest = 0;
  for (std::int32_t p = 0; p < g.parts; ++p) {
    bytes |= g.part_bytes[p];
    longest = g.part_bytes[p] > longest ? g.part_bytes[p] : longest;
  }
  if (g.outer * longest == 0) return;
  with_word(bytes, [&](auto word) {
    using Word = decltype(word);
    constexpr auto size = std::int64_t{sizeof(Word)};
    Parts parts{};
    parts.outer = g.outer;
    for (std::int32_t p = 0; p < g.parts; ++p) {
      parts.x[p] = call.in[p];
      parts.words[p] = g.part_bytes[p] / size;
      parts.at[p] = parts.pitch;
      parts.pitch += parts.words[p];
    }
    launch(call, join_parts<Word>, dim3(blocks_for(g.outer * longest / size).x, static_cast<unsigned>(g.parts)),
           dim3(block_threads), 0, parts, output<Word>(call, 0));
  });
}

void slice(const Call& call) {
  const auto& g = state_of<SliceGeometry>(call);
  if (g.outer * g.length_bytes == 0) return;
  with_word(g.extent_bytes | g.begin_bytes | g.length_bytes, [&](auto word) {
    using Word = decltype(word);
    const SliceGeometry w = in_words(g, sizeof(Word));
    launch(call, take_slice<Word>, blocks_for(w.outer * w.length_bytes), dim3(block_threads), 0, w,
           input<Word>(call, 0), output<Word>(call, 0));
  });
}

void slice_grad(const Call& call) {
  const auto& g = state_of<SliceGeometry>(call);
  if (g.outer * g.extent_bytes == 0) return;
  with_word(g.extent_bytes | g.begin_bytes | g.length_bytes, [&](auto word) {
    using Word = decltype(word);
    const SliceGeometry w = in_words(g, sizeof(Word));
    launch(call, put_slice<Word>, blocks_for(w.outer * w.extent_bytes), dim3(block_threads), 0, w, input<Word>(call, 0),
           output<Word>(call, 0));
  });
}

void broadcast_to(const Call& call) {
  const auto& g = state_of<BroadcastGeometry>(call);
  const std::int32_t last = g.rank - 1;
  const std::int64_t n = product(g.extent, g.rank);
  if (n == 0) return;
  bool fours = g.extent[last] % 4 == 0;
  const bool repeats = g.stride[last] == 0;
  for (std::int32_t a = 0; a < last; ++a) fours = fours && (repeats || g.stride[a] % 4 == 0);
  Strides s = in_words(g.extent, g.stride, g.rank, 1);
  if (!fours) {
    launch(call, copy_strided<Word4, Word4>, blocks_for(n), dim3(block_threads), 0, s, n, input<Word4>(call, 0),
           output<Word4>(call, 0));
  } else if (repeats) {
    s.extent[last] /= 4;
    launch(call, copy_strided<Word16, Word4>, blocks_for(n / 4), dim3(block_threads), 0, s, n / 4,
           input<Word4>(call, 0), output<Word16>(call, 0));
  } else {
    launch(call, copy_strided<Word16, Word16>, blocks_for(n / 4), dim3(block_threads), 0,
           in_words(g.extent, g.stride, g.rank, 4), n / 4, input<Word16>(call, 0), output<Word16>(call, 0));
  }
}

}  // namespace tenon::cuda
