// The contractions of a provider of the GPU, as a table like Loops. Their views (product.cuh, conv2d.cuh) need no geometry but the
// common one.
#pragma once
#include "kernels/common/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cuda {

struct Contractions {
  const char* provider;  // "cuda.tenon"
  bool naive;
  Precision precision;       // fp32 rows are canonical
  RunFn product;             // ProductGeometry: matmul and both its gradients
  RunFn conv2d;              // ConvGeometry
  RunFn conv2d_grad_input;   // ConvGeometry
  RunFn conv2d_grad_filter;  // ConvGeometry
};

/// Tensor cores with operands in fp16, bf16 and tf32, the FMAs of fp32, and contract_naive to compare with.
extern const Contractions fp16_contractions, bf16_contractions, tf32_contractions, tiled_contractions,
    naive_contractions;

/// The rows of a provider. The table must outlive them.
void append_contraction_rows(KernelTable&, const Contractions&);

}  // namespace tenon::cuda
