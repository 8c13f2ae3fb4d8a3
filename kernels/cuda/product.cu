// matmul and its gradients: views of product.cuh through the kernels of contraction.cuh.
#include "kernels/cuda/product.cuh"

#include "kernels/cuda/contraction_runs.hpp"

namespace tenon::cuda {

void product_tiled(const Call& call) {
  with_product(call, [&](const auto& view) { run_contraction(call, view); });
}
void product_naive(const Call& call) {
  with_product(call, [&](const auto& view) { run_naive(call, view); });
}

}  // namespace tenon::cuda
