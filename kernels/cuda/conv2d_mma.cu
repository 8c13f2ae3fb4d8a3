// conv2d on tensor cores: few channels on CUDA cores (conv2d_few.cuh), images whose lines fit in shared memory by bands
// (conv2d_bands.cuh), else its view of conv2d.cuh through the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_bands_problems.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {
namespace {

template <class Format>
void forward(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  if (takes_few(g)) return conv2d_few(call);
  const ForwardView view = forward_view(call, g);
  if (takes_forward_bands(g) && try_bands<Format>(call, forward_problem(g, view))) return;
  run_mma<Format>(call, view);
}

}  // namespace

void conv2d_tf32(const Call& call) { forward<Tf32>(call); }
void conv2d_bf16(const Call& call) { forward<Bf16>(call); }
void conv2d_fp16(const Call& call) { forward<Fp16>(call); }

}  // namespace tenon::cuda
