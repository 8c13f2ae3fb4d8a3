// Folding many elements into one in the canonical order of kernels/common/order.hpp, shared out to threads: chunks of
// rows as in row_reduce.hpp, chunks of columns as one chain each, vectorised over neighbouring columns, and the pair
// tree over the results of chunks, which wait in the workspace.
// A fold says how an element enters a chain (`step`) and how two results meet (`join`); chains begin with `identity`.
#pragma once
#include "kernels/cpu/micro/row_reduce.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

struct Sum {
  static constexpr float identity = 0.f;
  TENON_INLINE Vf step(Vf acc, Vf x) { return acc + x; }
  TENON_INLINE Vf join(Vf a, Vf b) { return a + b; }
  TENON_INLINE float row_chunk(const float* x, std::int64_t n) {
    return row_chain_chunk(0, n, [&](Vf acc, std::int64_t i, auto lanes) { return acc + lanes.load(x + i); });
  }
};
struct SumOfSquares : Sum {
  TENON_INLINE float row_chunk(const float* x, std::int64_t n) {
    return row_chain_chunk(0, n, [&](Vf acc, std::int64_t i, auto lanes) {
      const Vf v = lanes.load(x + i);
      return Simd::fma(v, v, acc);
    });
  }
};

/// Any order gives the same value, so a row needs no lanes of its own. `Fold::beats(a, b)`: a takes the place of b.
template <class Fold>
TENON_INLINE float extreme_of_row(const float* x, std::int64_t n) {
  Vf acc = Simd::set(Fold::identity);
  for_each_lanes(n, [&](std::int64_t i, auto lanes) {
    const Vi there = Simd::lane_index() < Simd::set_int(static_cast<std::int32_t>(smaller(n - i, width)));
    acc = Simd::select(there, Fold::step(acc, lanes.load(x + i)), acc);
  });
  float lane[width], best = Fold::identity;
  Simd::store(lane, acc);
  for (int l = 0; l < width; ++l) best = lane[l] != lane[l] || Fold::beats(lane[l], best) ? lane[l] : best;
  return best;
}
/// The first of equals stays, a NaN wins and stays.
struct Max {
  static constexpr float identity = -__builtin_inff();
  TENON_INLINE bool beats(float a, float b) { return a > b; }
  TENON_INLINE Vf step(Vf acc, Vf x) { return Simd::select((x > acc) | ((x != x) & (acc == acc)), x, acc); }
  TENON_INLINE Vf join(Vf a, Vf b) { return step(a, b); }
  TENON_INLINE float row_chunk(const float* x, std::int64_t n) { return extreme_of_row<Max>(x, n); }
};
struct Min {
  static constexpr float identity = __builtin_inff();
  TENON_INLINE bool beats(float a, float b) { return a < b; }
  TENON_INLINE Vf step(Vf acc, Vf x) { return Simd::select((x < acc) | ((x != x) & (acc == acc)), x, acc); }
  TENON_INLINE Vf join(Vf a, Vf b) { return step(a, b); }
  TENON_INLINE float row_chunk(const float* x, std::int64_t n) { return extreme_of_row<Min>(x, n); }
};

/// Chains over n rows for `vectors` neighbouring vectors of columns.
template <class Fold, int vectors, class Lanes>
TENON_INLINE void fold_columns(const float* x, std::int64_t pitch, std::int64_t n, float* to, Lanes lanes) {
  Vf acc[vectors];
  for (int v = 0; v < vectors; ++v) acc[v] = Simd::set(Fold::identity);
  for (std::int64_t i = 0; i < n; ++i) {
    for (int v = 0; v < vectors; ++v) acc[v] = Fold::step(acc[v], lanes.load(x + i * pitch + v * width));
  }
  for (int v = 0; v < vectors; ++v) lanes.store(to + v * width, acc[v]);
}

/// Columns that one thread takes at a time; as many accumulators as hide the latency of an add.
inline constexpr std::int64_t column_block = 8 * width;

/// One chunk of up to column_block columns.
template <class Fold>
TENON_INLINE void fold_column_chunk(const float* x, std::int64_t pitch, std::int64_t n, std::int64_t columns,
                                    float* to) {
  std::int64_t c = 0;
  for (; c + 8 * width <= columns; c += 8 * width) fold_columns<Fold, 8>(x + c, pitch, n, to + c, Whole{});
  for (; c + 4 * width <= columns; c += 4 * width) fold_columns<Fold, 4>(x + c, pitch, n, to + c, Whole{});
  for (; c + 2 * width <= columns; c += 2 * width) fold_columns<Fold, 2>(x + c, pitch, n, to + c, Whole{});
  for (; c + width <= columns; c += width) fold_columns<Fold, 1>(x + c, pitch, n, to + c, Whole{});
  if (c < columns) fold_columns<Fold, 1>(x + c, pitch, n, to + c, Part{columns - c});
}

/// The pair tree over parts (count, columns), level by level in place; the result is the first row.
template <class Fold>
TENON_INLINE void join_tree(float* parts, std::int64_t count, std::int64_t columns) {
  for (std::int64_t apart = 1; apart < count; apart *= 2) {
    for (std::int64_t i = 0; i + apart < count; i += 2 * apart) {
      float* below = parts + i * columns;
      const float* top = parts + (i + apart) * columns;
      for_each_lanes(columns, [&](std::int64_t c, auto lanes) {
        lanes.store(below + c, Fold::join(lanes.load(below + c), lanes.load(top + c)));
      });
    }
  }
}

/// x (outer, n, columns) -> y (outer, columns) with chains over `chunk` rows. `parts` has room for
/// (outer, chunks, columns) where there is more than one chunk. Threads own blocks of columns of one chunk.
template <class Fold>
TENON_INLINE void fold_axis(const Call& call, const float* x, std::int64_t outer, std::int64_t n, std::int64_t columns,
                            std::int64_t chunk, float* parts, float* y) {
  const std::int64_t chunks = order::chunks(n, chunk), blocks = blocks_of(columns, column_block);
  const std::int32_t threads = threads_for(call, outer * n * columns);
  float* to = chunks == 1 ? y : parts;
  parallel_for(threads, outer * chunks * blocks, [&](std::int64_t item) {
    const std::int64_t column = item % blocks * column_block, part = item / blocks;
    const std::int64_t begin = part % chunks * chunk, rows = smaller(chunk, n - begin);
    fold_column_chunk<Fold>(x + (part / chunks * n + begin) * columns + column, columns, rows,
                            smaller(column_block, columns - column), to + part * columns + column);
  });
  if (chunks == 1) return;
  parallel_for(threads, outer, [&](std::int64_t o) {
    float* mine = parts + o * chunks * columns;
    join_tree<Fold>(mine, chunks, columns);
    std::memcpy(y + o * columns, mine, static_cast<std::size_t>(columns) * 4);
  });
}

/// x (outer, n) -> y (outer); `parts` has room for (outer, chunks) where there is more than one chunk. Threads own
/// chunks.
template <class Fold>
TENON_INLINE void fold_rows(const Call& call, const float* x, std::int64_t outer, std::int64_t n, float* parts,
                            float* y) {
  const std::int64_t chunks = order::chunks(n, order::reduce_chunk);
  const std::int32_t threads = threads_for(call, outer * n);
  float* to = chunks == 1 ? y : parts;
  parallel_for(threads, outer * chunks, [&](std::int64_t part) {
    const std::int64_t begin = part % chunks * order::reduce_chunk;
    to[part] = Fold::row_chunk(x + part / chunks * n + begin, smaller(order::reduce_chunk, n - begin));
  });
  if (chunks == 1) return;
  parallel_for(threads, outer, [&](std::int64_t o) {
    join_tree<Fold>(parts + o * chunks, chunks, 1);
    y[o] = parts[o * chunks];
  });
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
