// dropout        x -> y = x / (1 - rate) where kept, else 0; mask u8, 1: kept
// dropout_grad   gy, mask -> gx = gy / (1 - rate) where kept, else 0
// Kept iff the element's draw >= rate * 2^16 (kernels/common/philox.hpp). A dropped element is dead: even a NaN
// there becomes 0. A thread owns four neighbours, whose draws are from one Philox block.
#include "kernels/common/geometry.hpp"
#include "kernels/common/philox.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

using Mask = Lanes<std::uint8_t, 4>;

__global__ void drop_elements(DropoutGeometry g, std::uint32_t threshold, float scale, const Control* control,
                              const float* x, float* y, std::uint8_t* mask) {
  const philox::Key key = philox::key(control->seed, philox::Purpose::dropout);
  const std::uint32_t step = control->step, epoch = control->epoch;
  for_each_four(g.n, [&](std::int64_t i, std::int64_t there) {
    Four v = load_four(x + i, there);
    const philox::Words words =
        philox::block(key, philox::draw_block(i), static_cast<std::uint32_t>(g.site), step, epoch);
    Mask kept;
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      const bool keeps = philox::draw_of(words, i % 8 + l) >= threshold;
      v.v[l] = keeps ? v.v[l] * scale : 0.f;
      kept.v[l] = keeps ? 1 : 0;
    }
    store_four(y + i, v, there);
    store_four(mask + i, kept, there);
  });
}

__global__ void pass_elements(std::int64_t n, float scale, const float* gy, const std::uint8_t* mask, float* gx) {
  for_each_four(n, [&](std::int64_t i, std::int64_t there) {
    Four v = load_four(gy + i, there);
    const Mask kept = load_four(mask + i, there);
#pragma unroll
    for (int l = 0; l < 4; ++l) v.v[l] = kept.v[l] != 0 ? v.v[l] * scale : 0.f;
    store_four(gx + i, v, there);
  });
}

}  // namespace

void dropout(const Call& call) {
  const auto& g = state_of<DropoutGeometry>(call);
  if (g.n == 0) return;
  launch(call, drop_elements, blocks_for_fours(g.n), dim3(block_threads), 0, g, philox::dropout_threshold(g.rate),
         philox::dropout_scale(g.rate), call.control, input<float>(call, 0), output<float>(call, 0),
         output<std::uint8_t>(call, 1));
}

void dropout_grad(const Call& call) {
  const auto& g = state_of<DropoutGeometry>(call);
  if (g.n == 0) return;
  launch(call, pass_elements, blocks_for_fours(g.n), dim3(block_threads), 0, g.n, philox::dropout_scale(g.rate),
         input<float>(call, 0), input<std::uint8_t>(call, 1), output<float>(call, 0));
}

}  // namespace tenon::cuda
