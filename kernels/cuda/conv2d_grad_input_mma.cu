// conv2d_grad_input on tensor cores: from lines of dz in shared memory where they fit (conv2d_bands.cuh), else its view of conv2d.cuh
// through the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_bands_problems.cuh"

namespace tenon::cuda {
namespace {

template <class Format>
void grad_input(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const GradInputView view = grad_input_view(call, g);
  if (takes_grad_input_bands(g) && try_bands<Format>(call, grad_input_problem(g, view))) return;
  run_mma<Format>(call, view);
}

}  // namespace

void conv2d_grad_input_tf32(const Call& call) { grad_input<Tf32>(call); }
void conv2d_grad_input_bf16(const Call& call) { grad_input<Bf16>(call); }
void conv2d_grad_input_fp16(const Call& call) { grad_input<Fp16>(call); }

}  // namespace tenon::cuda
