// conv2d_grad_input on tensor cores: its view of conv2d.cuh through the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d.cuh"

namespace tenon::cuda {

void conv2d_grad_input_tf32(const Call& call) {
  run_mma<Tf32>(call, grad_input_view(call, state_of<ConvGeometry>(call)));
}
void conv2d_grad_input_bf16(const Call& call) {
  run_mma<Bf16>(call, grad_input_view(call, state_of<ConvGeometry>(call)));
}
void conv2d_grad_input_fp16(const Call& call) {
  run_mma<Fp16>(call, grad_input_view(call, state_of<ConvGeometry>(call)));
}

}  // namespace tenon::cuda
