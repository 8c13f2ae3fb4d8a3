// conv2d on tensor cores: from lines of images in shared memory where they fit (conv2d_bands.cuh), else its view of conv2d.cuh through
// the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_bands_problems.cuh"

namespace tenon::cuda {
namespace {

template <class Format>
void conv2d(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const ForwardView view = forward_view(call, g);
  if (takes_forward_bands(g) && try_bands<Format>(call, forward_problem(g, view))) return;
  run_mma<Format>(call, view);
}

}  // namespace

void conv2d_tf32(const Call& call) { conv2d<Tf32>(call); }
void conv2d_bf16(const Call& call) { conv2d<Bf16>(call); }
void conv2d_fp16(const Call& call) { conv2d<Fp16>(call); }

}  // namespace tenon::cuda
