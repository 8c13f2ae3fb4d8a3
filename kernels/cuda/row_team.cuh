// Threads that work on one row together: HalfWarp on short rows, RowBlock on longer ones. Code over rows is written
// once for both:
//
//   team.for_each(n, body)       body(i) for i in [0, n), shared out to the threads
//   team.fold<Fold>(x)           one value of every thread, in any order; all get the result
//   team.first(i)                the smallest index of all threads
//   team.chain<Fold>(n, term)    the canonical fold of term(i) over the row: chunks of reduce_chunk, in them 16 lanes
//                                as chains, folded by halves; pair tree (kernels/common/order.hpp). term runs once an
//                                element, on any thread
//   team.leader()                one of them
// What for_each or chain wrote to memory, the team's other threads may read after the next fold or chain.
#pragma once
#include <type_traits>

#include "kernels/common/order.hpp"
#include "kernels/cuda/fold.cuh"

namespace tenon::cuda {

inline constexpr std::int64_t nowhere = INT64_MAX;  // the index of nothing
inline constexpr int row_lanes = static_cast<int>(order::lanes);

/// A term of a sum of products.
struct Factors {
  float a, b;
};
/// Chains of FMAs over Factors.
struct SumOfProducts : Sum {
  using Sum::step;
  __device__ static float step(float acc, Factors x) { return math::Scalar::fma(x.a, x.b, acc); }
};

/// A fold by halves over 16 lanes; both partners of a step form the same sum, so that all lanes have the result.
template <class Fold>
__device__ inline float fold_lanes(float x, unsigned mask) {
#pragma unroll
  for (int half = row_lanes / 2; half > 0; half /= 2) x = Fold::join(x, __shfl_xor_sync(mask, x, half, row_lanes));
  return x;
}

/// Each thread is one of the order's lanes, so that chains are in registers.
class HalfWarp {
 public:
  static constexpr std::int64_t most = 128;  // elements of a row: one chunk, and few enough for 16 threads

  __device__ HalfWarp() : lane_(static_cast<int>(threadIdx.x) % row_lanes), mask_(0xffffu << (threadIdx.x & 16u)) {}
  [[nodiscard]] __device__ bool leader() const { return lane_ == 0; }

  template <class Body>
  __device__ void for_each(std::int64_t n, const Body& body) const {
    for (std::int64_t i = lane_; i < n; i += row_lanes) body(i);
  }
  template <class Fold>
  __device__ float fold(float x) const {
    return fold_lanes<Fold>(x, mask_);
  }
  [[nodiscard]] __device__ std::int64_t first(std::int64_t i) const {
#pragma unroll
    for (int half = row_lanes / 2; half > 0; half /= 2) {
      const std::int64_t other = __shfl_xor_sync(mask_, i, half, row_lanes);
      i = other < i ? other : i;
    }
    return i;
  }
  template <class Fold, class Term>
  __device__ float chain(std::int64_t n, const Term& term) const {
    float acc = Fold::identity;
    for (std::int64_t i = lane_; i < n; i += row_lanes) acc = Fold::step(acc, term(i));
    return fold_lanes<Fold>(acc, mask_);
  }

 private:
  int lane_;
  unsigned mask_;
};

/// Terms that wait for the chains: a tile is being written while the one before is being read.
struct RowStorage {
  static constexpr int tile = 1024, stages = 2, operands = 2;
  Shared<float, stages * operands * tile> terms;
  Shared<float, 32> tree;
  Shared<float, block_threads / warp> folded;
  Shared<std::int64_t, block_threads / warp> index;
};

/// A block. 16 threads are the order's lanes, the others make ready what these add: terms are most of the work.
class RowBlock {
 public:
  __device__ explicit RowBlock(RowStorage& shared) : shared_(shared), thread_(static_cast<int>(threadIdx.x)) {}
  [[nodiscard]] __device__ bool leader() const { return thread_ == 0; }

  template <class Body>
  __device__ void for_each(std::int64_t n, const Body& body) const {
    for (std::int64_t i = thread_; i < n; i += threads) body(i);
  }

  template <class Fold>
  __device__ float fold(float x) {
#pragma unroll
    for (int half = static_cast<int>(warp) / 2; half > 0; half /= 2)
      x = Fold::join(x, __shfl_xor_sync(whole_warp, x, half));
    if (thread_ % warp == 0) shared_.folded[thread_ / warp] = x;
    __syncthreads();
    x = shared_.folded[0];
    for (int w = 1; w < warps; ++w) x = Fold::join(x, shared_.folded[w]);
    __syncthreads();  // the next fold writes again
    return x;
  }

  __device__ std::int64_t first(std::int64_t i) {
#pragma unroll
    for (int half = static_cast<int>(warp) / 2; half > 0; half /= 2) {
      const std::int64_t other = __shfl_xor_sync(whole_warp, i, half);
      i = other < i ? other : i;
    }
    if (thread_ % warp == 0) shared_.index[thread_ / warp] = i;
    __syncthreads();
    i = shared_.index[0];
    for (int w = 1; w < warps; ++w) {
      const std::int64_t other = shared_.index[w];
      i = other < i ? other : i;
    }
    __syncthreads();
    return i;
  }

  template <class Fold, class Term>
  __device__ float chain(std::int64_t n, const Term& term) {
    constexpr std::int64_t tile = RowStorage::tile, tiles_of_chunk = order::reduce_chunk / tile;
    const auto join = [this](int below, int top) {
      shared_.tree[below] = Fold::join(shared_.tree[below], shared_.tree[top]);
    };
    const std::int64_t tiles = (n + tile - 1) / tile;
    float acc = Fold::identity;
    int height = 0;
    for (std::int64_t t = 0; t <= tiles; ++t) {
      const int helpers_from = t == 0 ? 0 : static_cast<int>(warp);  // the first warp adds, once there is a tile
      if (t < tiles && thread_ >= helpers_from) {
        const std::int64_t begin = t * tile, count = n - begin < tile ? n - begin : tile;
#pragma unroll 4
        for (std::int64_t i = thread_ - helpers_from; i < count; i += threads - helpers_from)
          put(static_cast<int>(t % 2), static_cast<int>(i), term(begin + i));
      }
      if (t > 0 && thread_ < row_lanes) {
        const std::int64_t left = n - (t - 1) * tile;
        acc = add_tile<Fold>(acc, static_cast<int>((t - 1) % 2), static_cast<int>(left < tile ? left : tile), term);
        if (t % tiles_of_chunk == 0 || t == tiles) {
          const float chunk = fold_lanes<Fold>(acc, 0xffffu);
          acc = Fold::identity;
          if (thread_ == 0) {
            shared_.tree[height] = chunk;
            height = order::tree_push((t - 1) / tiles_of_chunk, height, join);
          }
        }
      }
      __syncthreads();
    }
    if (thread_ == 0) {
      if (n <= 0) shared_.tree[0] = Fold::identity;
      order::tree_finish(height, join);
    }
    __syncthreads();
    return shared_.tree[0];
  }

 private:
  static constexpr int threads = block_threads, warps = threads / static_cast<int>(warp);

  __device__ void put(int stage, int i, float x) { shared_.terms[stage * RowStorage::tile + i] = x; }
  __device__ void put(int stage, int i, Factors x) {
    put(stage, i, x.a);
    put(stage + RowStorage::stages, i, x.b);
  }
  /// The lane's part of a tile.
  template <class Fold, class Term>
  __device__ float add_tile(float acc, int stage, int count, const Term&) {
    constexpr bool pairs = std::is_same_v<std::invoke_result_t<Term, std::int64_t>, Factors>;
    const int at = stage * RowStorage::tile;
#pragma unroll 8
    for (int i = thread_; i < count; i += row_lanes) {
      if constexpr (pairs)
        acc = Fold::step(acc,
                         Factors{shared_.terms[at + i], shared_.terms[at + RowStorage::stages * RowStorage::tile + i]});
      else
        acc = Fold::step(acc, shared_.terms[at + i]);
    }
    return acc;
  }

  RowStorage& shared_;
  int thread_;
};

namespace {

template <class Work>
__global__ void rows_by_half_warps(std::int64_t rows, Work work) {
  HalfWarp team;
  for (std::int64_t row = global_thread() / row_lanes; row < rows; row += global_threads() / row_lanes) work(team, row);
}
template <class Work>
__global__ void __launch_bounds__(block_threads, 5) rows_by_blocks(std::int64_t rows, Work work) {
  RowBlock team(shared_storage<RowStorage>());
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) work(team, row);
}

/// work(team, row) for every row of `columns` elements.
template <class Work>
void for_each_row(const Call& call, std::int64_t rows, std::int64_t columns, Work work) {
  if (rows == 0) return;
  if (columns <= HalfWarp::most)
    launch(call, rows_by_half_warps<Work>, blocks_for(rows * row_lanes), dim3(block_threads), 0, rows, work);
  else
    launch(call, rows_by_blocks<Work>, blocks_for(rows, 1), dim3(block_threads), sizeof(RowStorage), rows, work);
}

}  // namespace
}  // namespace tenon::cuda
