// conv2d_grad_filter on tensor cores: its view of conv2d.cuh through the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d.cuh"

namespace tenon::cuda {

void conv2d_grad_filter_tf32(const Call& call) {
  run_mma_with_bias<Tf32>(call, grad_filter_view(call, state_of<ConvGeometry>(call)));
}
void conv2d_grad_filter_bf16(const Call& call) {
  run_mma_with_bias<Bf16>(call, grad_filter_view(call, state_of<ConvGeometry>(call)));
}
void conv2d_grad_filter_fp16(const Call& call) {
  run_mma_with_bias<Fp16>(call, grad_filter_view(call, state_of<ConvGeometry>(call)));
}

}  // namespace tenon::cuda
