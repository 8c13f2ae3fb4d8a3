// The loops around the steps of a block (kernels/common/step_block.hpp).
// feed: a block of threads a row of the minibatch; its first thread finds the row, all of them copy. advance: one thread.
#include "kernels/common/step_block.hpp"

#include "kernels/common/permutation.hpp"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/step_block_runs.hpp"

namespace tenon::cuda {
namespace {

/// Addresses cross by value: the arrays of a Call are the host's.
struct Columns {
  const void* from[FeedGeometry::most_columns];
  void* to[FeedGeometry::most_columns];
};

struct RowStorage {
  Shared<std::int64_t, 1> row;
};

__device__ inline float element(const void* data, DType type, std::int64_t i) {
  if (type == DType::u8) return static_cast<float>(static_cast<const std::uint8_t*>(data)[i]);
  if (type == DType::i32) return static_cast<float>(static_cast<const std::int32_t*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

__global__ void gather_rows(FeedGeometry g, Columns columns, std::int64_t first, const StepBlock* block,
                            const Control* control) {
  RowStorage& shared = shared_storage<RowStorage>();
  if (threadIdx.x == 0) {
    const std::int64_t sample = block->next_sample + first + blockIdx.x;
    const std::int64_t inside = sample % g.samples;
    const auto sweep = g.continuous ? static_cast<std::uint32_t>(sample / g.samples) : control->epoch;
    const auto n = static_cast<std::uint64_t>(g.samples), i = static_cast<std::uint64_t>(inside);
    shared.row[0] =
        g.shuffle ? static_cast<std::int64_t>(permutation::apply(permutation::make(n, g.seed, sweep), i)) : inside;
  }
  __syncthreads();
  const std::int64_t row = shared.row[0];
  for (std::int32_t c = 0; c < g.columns; ++c) {
    const std::int64_t from = row * g.width[c], to = static_cast<std::int64_t>(blockIdx.x) * g.width[c];
    for (std::int64_t i = threadIdx.x; i < g.width[c]; i += blockDim.x) {
      if (g.to[c] == DType::i32) {
        static_cast<std::int32_t*>(columns.to[c])[to + i] =
            g.from[c] == DType::u8 ? std::int32_t{static_cast<const std::uint8_t*>(columns.from[c])[from + i]}
                                   : static_cast<const std::int32_t*>(columns.from[c])[from + i];
      } else {
        const float v = element(columns.from[c], g.from[c], from + i);
        static_cast<float*>(columns.to[c])[to + i] = g.divisor[c] == 1.f ? v : v / g.divisor[c];
      }
    }
  }
}

struct Scalars {
  const float* value[StepBlock::most_values];
};

__global__ void note_and_advance(AdvanceGeometry g, Scalars scalars, StepBlock* block, Control* control) {
  const std::int32_t i = block->done;
  for (std::int32_t v = 0; v < g.values; ++v) block->value[i][v] = *scalars.value[v];
  block->halt[i] = control->halt;
  block->done = i + 1;
  if (!g.training) return;
  ++control->step;
  if (control->halt == 0) {
    ++control->updates;
    ++block->updated;
  }
  control->halt &= ~std::uint32_t{Control::overflow};  // what overflowed was this update, not the next
  if (block->updated < StepBlock::most_steps) control->lr = block->lr[block->updated];
}

}  // namespace

void feed(const Call& call) {
  const auto& g = state_of<FeedGeometry>(call);
  Columns columns{};
  std::int64_t widest = 1;
  for (std::int32_t c = 0; c < g.columns; ++c) {
    columns.from[c] = call.in[c];
    columns.to[c] = call.out[c];
    widest = widest > g.width[c] ? widest : g.width[c];
  }
  const unsigned threads = widest > 128 ? block_threads : warp;
  launch(call, gather_rows, dim3(static_cast<unsigned>(g.batch)), dim3(threads), sizeof(RowStorage), g, columns,
         call.first_sample, static_cast<const StepBlock*>(call.workspace), static_cast<const Control*>(call.control));
}

void advance(const Call& call) {
  const auto& g = state_of<AdvanceGeometry>(call);
  Scalars scalars{};
  for (std::int32_t v = 0; v < g.values; ++v) scalars.value[v] = static_cast<const float*>(call.in[v]);
  launch(call, note_and_advance, dim3(1), dim3(1), 0, g, scalars, static_cast<StepBlock*>(call.workspace),
         call.control);
}

}  // namespace tenon::cuda
