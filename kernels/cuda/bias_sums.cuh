// The bias gradient beside a gradient on tensor cores: dz summed over all terms in fp32, as its bound says, in an order that is
// always the same but not the canonical one, which is a few long chains. dz is read from the view, so that its epilogue is undone on
// the way.
//
// A block has 32 lines and a part of the terms: eight fours of lines by 32 threads, each of which adds up every 32nd term. Sums of a
// warp meet by shuffles, those of the warps in shared memory, those of the parts in a second launch of the same kernel.
// Error: that of sums in any order.
#pragma once
#include <type_traits>

#include "kernels/cuda/contraction.cuh"

namespace tenon::cuda {
namespace {

struct BiasSumsStorage {
  Shared<float, 8 * 32> sums;  // [warp][line]
};

/// Lines and terms of what shall be summed: dz, or the sums of its parts.
template <class Side>
struct GradientTerms {
  Side side;
  __device__ void four(std::int64_t line, std::int64_t count, std::int64_t term, float v[4]) const {
    if (side.reading() == Reading::four_lines) return side.four(side.place(line), term, v);
#pragma unroll
    for (int l = 0; l < 4; ++l)
      if (l < count) v[l] = side.one(side.place(line + l), term);
  }
};
struct PartTerms {
  const float* parts;  // [part, line]
  std::int64_t lines;
  __device__ void four(std::int64_t line, std::int64_t count, std::int64_t term, float v[4]) const {
#pragma unroll
    for (int l = 0; l < 4; ++l)
      if (l < count) v[l] = parts[term * lines + line + l];
  }
};

/// Sums of terms [first, last) of the block's 32 lines; put(line, sum) takes them.
template <class Terms, class Put>
__device__ void sum_terms(const Terms& terms, std::int64_t lines, std::int64_t first, std::int64_t last,
                          const Put& put) {
  BiasSumsStorage& shared = shared_storage<BiasSumsStorage>();
  const int thread = static_cast<int>(threadIdx.x), mine = thread % 8 * 4;
  const std::int64_t line0 = static_cast<std::int64_t>(blockIdx.x) * 32, line = line0 + mine;
  float sum[4] = {};
  if (line < lines) {
#pragma unroll 4
    for (std::int64_t term = first + thread / 8; term < last; term += 32) {
      float v[4] = {};
      terms.four(line, lines - line, term, v);
#pragma unroll
      for (int l = 0; l < 4; ++l) sum[l] += v[l];
    }
  }
#pragma unroll
  for (int l = 0; l < 4; ++l) {
    sum[l] += __shfl_xor_sync(whole_warp, sum[l], 8);
    sum[l] += __shfl_xor_sync(whole_warp, sum[l], 16);
    if (thread % 32 < 8) shared.sums[thread / 32 * 32 + mine + l] = sum[l];
  }
  __syncthreads();
  if (thread < 32 && line0 + thread < lines) {
    float total = shared.sums[thread];
    for (int w = 1; w < 8; ++w) total += shared.sums[w * 32 + thread];
    put(line0 + thread, total);
  }
}

/// The operand of a gradient's view that is dz.
template <class View>
using GradientSide = std::conditional_t<View::b_plain, SideA<View>, SideB<View>>;

/// To gbias where one part is all there is, else to parts [batch, part, line].
template <class View>
__global__ void __launch_bounds__(256, 1) sum_bias(View view, float* parts) {
  const std::int64_t batch = blockIdx.z, count = gridDim.y, part = blockIdx.y;
  const GradientTerms<GradientSide<View>> gradient{{view, batch}};
  const std::int64_t lines = gradient.side.lines();
  sum_terms(gradient, lines, view.terms * part / count, view.terms * (part + 1) / count,
            [&](std::int64_t line, float sum) {
              if (count == 1)
                view.gbias[batch * lines + line] = sum;
              else
                parts[(batch * count + part) * lines + line] = sum;
            });
}
[[maybe_unused]] __global__ void __launch_bounds__(256)
    join_bias(std::int64_t lines, std::int64_t count, const float* parts, float* gbias) {
  const std::int64_t batch = blockIdx.z;
  sum_terms(PartTerms{parts + batch * count * lines, lines}, lines, 0, count,
            [&](std::int64_t line, float sum) { gbias[batch * lines + line] = sum; });
}

/// `view` has the bias alone (only_bias). The workspace has room for `room` floats, which nobody reads any more.
template <class View>
void run_bias_sums(const Call& call, const View& view, std::int64_t room) {
  constexpr std::int64_t terms_of_part = 1024, most_parts = 256;
  const std::int64_t lines = View::b_plain ? view.rows : view.columns;
  if (lines * view.batches == 0) return;
  const std::int64_t wanted = (view.terms + terms_of_part - 1) / terms_of_part, most = room / (lines * view.batches);
  std::int64_t parts = wanted < most_parts ? wanted : most_parts;
  if (parts > most) parts = most;
  if (parts < 1) parts = 1;
  const auto blocks = static_cast<unsigned>((lines + 31) / 32), batches = static_cast<unsigned>(view.batches);
  auto* memory = static_cast<float*>(call.workspace);
  launch(call, sum_bias<View>, dim3(blocks, static_cast<unsigned>(parts), batches), dim3(256), sizeof(BiasSumsStorage),
         view, memory);
  if (parts > 1)
    launch(call, join_bias, dim3(blocks, 1, batches), dim3(256), sizeof(BiasSumsStorage), lines, parts,
           static_cast<const float*>(memory), view.gbias);
}

}  // namespace
}  // namespace tenon::cuda
