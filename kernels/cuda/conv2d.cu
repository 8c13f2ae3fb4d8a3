// conv2d: its view of conv2d.cuh through the kernels of contraction_slabs.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/contraction_slabs.cuh"
#include "kernels/cuda/conv2d.cuh"

namespace tenon::cuda {

void conv2d_tiled(const Call& call) { run_slabs(call, forward_view(call, state_of<ConvGeometry>(call))); }
void conv2d_naive(const Call& call) { run_naive(call, forward_view(call, state_of<ConvGeometry>(call))); }

}  // namespace tenon::cuda
