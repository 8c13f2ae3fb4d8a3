// x (outer, n) -> y (outer): rows folded in canonical order, reduce_chunk elements to a chunk. One launch where a team
// takes a whole row; where rows are few and long, blocks take chunks, whose results wait in the workspace, and a second
// launch joins them by the pair tree.
#pragma once
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/row_team.cuh"

namespace tenon::cuda {
namespace {

/// Row `i` of the work is piece i % pieces of row i / pieces of x.
template <class Fold, class Finish>
struct FoldRow {
  const float* in;
  std::int64_t n, pieces, piece;  // elements of a row, pieces of it, elements of a piece
  float* out;
  Finish finish;
  const Control* control;  // null, or: nothing happens where updates halt

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t i) const {
    if (control != nullptr && control->halt != 0) return;
    const std::int64_t row = pieces == 1 ? i : i / pieces, begin = (i - row * pieces) * piece;
    const std::int64_t count = n - begin < piece ? n - begin : piece;
    const float* x = in + row * n + begin;
    float result;
    if constexpr (Fold::ordered) {
      result = team.template chain<Fold>(count, [=](std::int64_t j) { return x[j]; });
    } else {
      float mine = Fold::identity;
      team.for_each(count, [&](std::int64_t j) { mine = Fold::step(mine, x[j]); });
      result = team.template fold<Fold>(mine);
    }
    if (team.leader()) out[i] = finish(result);
  }
};

struct TreeStorage {
  Shared<float, block_threads / warp> sum;
};
constexpr std::int64_t tree_group = 4 * block_threads;  // results that a block joins at once: a whole subtree

/// The pair tree over up to tree_group results, a thread having four neighbours of them; thread 0 gets the root.
template <class Fold>
__device__ float join_group(TreeStorage& shared, const float* parts, std::int64_t count) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % static_cast<int>(warp);
  const std::int64_t mine = count - 4 * thread;  // results from the thread's first on
  float x = 0.f;
  if (mine > 0) {
    float v[4];  // one by one: only the first row of results starts on 16 bytes
#pragma unroll
    for (int l = 0; l < 4; ++l) v[l] = l < mine ? parts[4 * thread + l] : 0.f;
    x = mine > 1 ? Fold::join(v[0], v[1]) : v[0];
    if (mine > 2) x = Fold::join(x, mine > 3 ? Fold::join(v[2], v[3]) : v[2]);
  }
#pragma unroll
  for (int apart = 1; apart < static_cast<int>(warp); apart *= 2) {
    const float other = __shfl_down_sync(whole_warp, x, static_cast<unsigned>(apart));
    if (lane % (2 * apart) == 0 && 4 * apart < mine) x = Fold::join(x, other);
  }
  if (lane == 0) shared.sum[thread / static_cast<int>(warp)] = x;
  __syncthreads();
  if (thread == 0) {
    const int warps = static_cast<int>((count + 4 * warp - 1) / (4 * warp));
    for (int apart = 1; apart < warps; apart *= 2)
      for (int i = 0; i + apart < warps; i += 2 * apart)
        shared.sum[i] = Fold::join(shared.sum[i], shared.sum[i + apart]);
    x = shared.sum[0];
  }
  __syncthreads();  // the next group writes again
  return x;
}

/// parts (rows, count) -> out (rows), a block a row. Groups are whole subtrees, so that their roots form the same tree
/// again; roots take the place of results that have been read.
template <class Fold, class Finish>
__global__ void __launch_bounds__(block_threads)
    join_rows(std::int64_t rows, std::int64_t count, float* parts, float* out, Finish finish, const Control* control) {
  TreeStorage& shared = shared_storage<TreeStorage>();
  if (control != nullptr && control->halt != 0) return;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    float* mine = parts + row * count;
    std::int64_t left = count;
    float root = 0.f;
    for (;;) {
      const std::int64_t groups = (left + tree_group - 1) / tree_group;
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t rest = left - g * tree_group;
        root = join_group<Fold>(shared, mine + g * tree_group, rest < tree_group ? rest : tree_group);
        if (groups > 1 && threadIdx.x == 0) mine[g] = root;
      }
      if (groups == 1) break;
      __syncthreads();
      left = groups;
    }
    if (threadIdx.x == 0) out[row] = finish(root);
  }
}

/// `parts` has room for (outer, chunks) where there is more than one chunk.
template <class Fold, class Finish>
void fold_rows(const Call& call, std::int64_t outer, std::int64_t n, Finish finish, const Control* control) {
  const float* x = input<float>(call, 0);
  float *parts = static_cast<float*>(call.workspace), *y = output<float>(call, 0);
  const std::int64_t chunks = order::chunks(n, order::reduce_chunk);
  constexpr std::int64_t many_rows = 256;  // as many blocks as fill the device
  if (chunks == 1 || outer >= many_rows) {
    for_each_row(call, outer, n, FoldRow<Fold, Finish>{x, n, 1, n, y, finish, control});
    return;
  }
  if (outer == 0) return;
  for_each_row(call, outer * chunks, order::reduce_chunk,
               FoldRow<Fold, AsItIs>{x, n, chunks, order::reduce_chunk, parts, AsItIs{}, control});
  launch(call, join_rows<Fold, Finish>, blocks_for(outer, 1), dim3(block_threads), sizeof(TreeStorage), outer, chunks,
         parts, y, finish, control);
}

}  // namespace
}  // namespace tenon::cuda
