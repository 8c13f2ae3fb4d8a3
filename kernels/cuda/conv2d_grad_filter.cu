// conv2d_grad_filter: few channels by chains (conv2d_few_chains.cu), behind a pool by live terms (conv2d_grad_filter_live.cuh), else
// its view of conv2d.cuh through the kernels of contraction.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_grad_filter_live.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {

void conv2d_grad_filter_tiled(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  if (takes_few_chains(g)) return conv2d_few_chains(call);
  const GradFilterView view = grad_filter_view(call, g);
  if (takes_live_terms(g))
    run_grad_filter_live<UsualLiveTile>(call, g, view);
  else
    run_contraction(call, view);
}
void conv2d_grad_filter_naive(const Call& call) {
  run_naive(call, grad_filter_view(call, state_of<ConvGeometry>(call)));
}

}  // namespace tenon::cuda
