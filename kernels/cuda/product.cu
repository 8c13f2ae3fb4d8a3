// matmul and its gradients: views of product.cuh through the kernels of contraction_slabs.cuh.
#include "kernels/cuda/product.cuh"

#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/contraction_slabs.cuh"

namespace tenon::cuda {

void product_tiled(const Call& call) {
  with_product(call, [&](const auto& view) { run_slabs(call, view); });
}
void product_naive(const Call& call) {
  with_product(call, [&](const auto& view) { run_naive(call, view); });
}

}  // namespace tenon::cuda
