// conv2d_grad_input: behind a pool by live terms (conv2d_grad_input_live.cuh), else its view of conv2d.cuh through the kernels of
// contraction_slabs.cuh or, behind a pool, contraction.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/contraction_slabs.cuh"
#include "kernels/cuda/conv2d_grad_input_live.cuh"

namespace tenon::cuda {

void conv2d_grad_input_tiled(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const GradInputView view = grad_input_view(call, g);
  if (takes_live_input(g))
    run_grad_input_live(call, view);
  else if (!g.pool)
    run_slabs(call, view);
  else
    run_contraction(call, view);
}
void conv2d_grad_input_naive(const Call& call) { run_naive(call, grad_input_view(call, state_of<ConvGeometry>(call))); }

}  // namespace tenon::cuda
