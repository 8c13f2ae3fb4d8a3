// conv2d_grad_filter on tensor cores: behind a pool cell by cell (conv2d_grad_filter_cells.cuh), else its view of conv2d.cuh through
// the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_grad_filter_cells.cuh"

namespace tenon::cuda {
namespace {

template <class Format>
void grad_filter(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  if (takes_few_sums(g)) return conv2d_few_sums(call);
  const GradFilterView view = grad_filter_view(call, g, chunk_samples(g));
  if (takes_cells(g))
    run_grad_filter_cells<Format>(call, g, view);
  else
    run_mma_with_bias<Format>(call, view);
}

}  // namespace

void conv2d_grad_filter_tf32(const Call& call) { grad_filter<Tf32>(call); }
void conv2d_grad_filter_bf16(const Call& call) { grad_filter<Bf16>(call); }
void conv2d_grad_filter_fp16(const Call& call) { grad_filter<Fp16>(call); }

}  // namespace tenon::cuda
