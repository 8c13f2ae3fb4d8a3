// gather        y(i, :) = table(ids[i], :)
// gather_grad   gtable(ids[i], :) += gy(i, :), i ascending
// An id out of range is reported in Control; its row is zero, and its gradient goes nowhere. gather: threads own four
// neighbours of y where rows are multiples of four. gather_grad: a warp owns up to 128 columns of a row of the table,
// looks through all ids, and adds the rows that are its own, so that nothing is added from two sides and the order is
// that of the ids.
#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/labels.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

/// Rows of `pieces` pieces each; at least one, so that the ids of an empty table are looked at.
template <int count>
__global__ void take_rows(GatherGeometry g, std::int64_t pieces, const float* table, const std::int32_t* ids, float* y,
                          Control* control) {
  const std::int64_t looks = pieces > 0 ? pieces : 1;
  for_each_index(g.count * looks, [&](std::int64_t item) {
    const std::int64_t row = item / looks, piece = item - row * looks, id = ids[row];
    const bool there = inside(id, g.rows);
    if (!there && piece == 0) report_index(id, control);
    if (pieces == 0) return;
    const std::int64_t from = there ? (id * pieces + piece) * count : 0;
    store(y + item * count, there ? load<count>(table + from) : Lanes<float, count>{});
  });
}

constexpr int own_columns = 4;  // of a lane
constexpr std::int64_t warp_columns = own_columns * static_cast<std::int64_t>(warp);
constexpr int looks = 4;  // ids that a lane looks at together
constexpr int batch = 4;  // rows of gy on their way together

/// Adds rows first + i of gy for the bits i of `votes`, ascending. `columns`: of gy, from the lane's first on.
__device__ inline void add_voted(unsigned votes, std::int64_t first, std::int64_t width, std::int64_t columns,
                                 const float* gy, float (&sum)[own_columns]) {
  while (votes != 0) {
    float next[batch][own_columns];
    bool there[batch];
#pragma unroll
    for (int b = 0; b < batch; ++b) {
      there[b] = votes != 0;
      const float* from = gy + (first + (there[b] ? __ffs(static_cast<int>(votes)) - 1 : 0)) * width;
#pragma unroll
      for (int j = 0; j < own_columns; ++j) {
        const std::int64_t at = j * static_cast<std::int64_t>(warp);
        next[b][j] = there[b] && at < columns ? from[at] : 0.f;
      }
      votes &= votes - 1;  // 0 stays 0
    }
#pragma unroll
    for (int b = 0; b < batch; ++b) {
      if (!there[b]) break;
#pragma unroll
      for (int j = 0; j < own_columns; ++j) sum[j] = sum[j] + next[b][j];
    }
  }
}

__global__ void add_rows(GatherGeometry g, std::int64_t strips, const float* gy, const std::int32_t* ids, float* gtable,
                         Control* control) {
  const auto lane = static_cast<std::int64_t>(threadIdx.x % warp);
  // One item there is always, so that ids are looked at even for an empty table.
  const std::int64_t items = g.rows * strips > 0 ? g.rows * strips : 1;
  for (std::int64_t item = global_thread() / warp; item < items; item += global_threads() / warp) {
    const std::int64_t row = item / strips, column = (item - row * strips) * warp_columns + lane;
    float sum[own_columns] = {};
    for (std::int64_t first = 0; first < g.count; first += looks * static_cast<std::int64_t>(warp)) {
      std::int64_t id[looks];
#pragma unroll
      for (int k = 0; k < looks; ++k) {
        const std::int64_t at = first + k * static_cast<std::int64_t>(warp) + lane;
        id[k] = at < g.count ? ids[at] : INT64_MIN;
        if (item == 0 && at < g.count && !inside(id[k], g.rows)) report_index(id[k], control);
      }
#pragma unroll
      for (int k = 0; k < looks; ++k)
        add_voted(__ballot_sync(whole_warp, id[k] == row ? 1 : 0), first + k * static_cast<std::int64_t>(warp), g.width,
                  g.width - column, gy + column, sum);
    }
    if (row >= g.rows) continue;
#pragma unroll
    for (int j = 0; j < own_columns; ++j) {
      const std::int64_t at = column + j * static_cast<std::int64_t>(warp);
      if (at < g.width) gtable[row * g.width + at] = sum[j];
    }
  }
}

}  // namespace

void gather(const Call& call) {
  const auto& g = state_of<GatherGeometry>(call);
  if (g.count == 0) return;
  const std::int64_t count = g.width % 4 == 0 ? 4 : 1, pieces = g.width / count;
  launch(call, count == 4 ? take_rows<4> : take_rows<1>, blocks_for(g.count * (pieces > 0 ? pieces : 1)),
         dim3(block_threads), 0, g, pieces, input<float>(call, 0), input<std::int32_t>(call, 1), output<float>(call, 0),
         call.control);
}

void gather_grad(const Call& call) {
  const auto& g = state_of<GatherGeometry>(call);
  const std::int64_t strips = g.width > warp_columns ? (g.width + warp_columns - 1) / warp_columns : 1;
  launch(call, add_rows, blocks_for(g.rows * strips * warp), dim3(block_threads), 0, g, strips, input<float>(call, 0),
         input<std::int32_t>(call, 1), output<float>(call, 0), call.control);
}

}  // namespace tenon::cuda
