// conv2d_grad_filter: its view of conv2d.cuh through the kernels of contraction.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {

void conv2d_grad_filter_tiled(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  if (takes_few_chains(g)) return conv2d_few_chains(call, order::sample_group);
  run_contraction(call, grad_filter_view(call, g));
}
void conv2d_grad_filter_naive(const Call& call) {
  run_naive(call, grad_filter_view(call, state_of<ConvGeometry>(call)));
}

}  // namespace tenon::cuda
