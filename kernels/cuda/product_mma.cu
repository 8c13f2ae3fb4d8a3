// matmul and its gradients on tensor cores: views of product.cuh through the kernels of contraction_mma.cuh.
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/product.cuh"

namespace tenon::cuda {

void product_tf32(const Call& call) {
  with_product(call, [&](const auto& view) { run_mma_with_bias<Tf32>(call, view); });
}
void product_bf16(const Call& call) {
  with_product(call, [&](const auto& view) { run_mma_with_bias<Bf16>(call, view); });
}
void product_fp16(const Call& call) {
  with_product(call, [&](const auto& view) { run_mma_with_bias<Fp16>(call, view); });
}

}  // namespace tenon::cuda
