// conv2d: its view of conv2d.cuh through the kernels of contraction.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {

void conv2d_tiled(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  if (takes_few(g)) return conv2d_few(call);
  run_contraction(call, forward_view(call, g));
}
void conv2d_naive(const Call& call) { run_naive(call, forward_view(call, state_of<ConvGeometry>(call))); }

}  // namespace tenon::cuda
