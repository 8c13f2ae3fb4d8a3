// The tables of contractions.
#include "kernels/cuda/contractions.hpp"

#include "kernels/cuda/contraction_runs.hpp"

namespace tenon::cuda {

#define TENON_RUNS(kind) product_##kind, conv2d_##kind, conv2d_grad_input_##kind, conv2d_grad_filter_##kind
const Contractions fp16_contractions{"cuda.tenon", false, Precision::fp16, TENON_RUNS(fp16)};
const Contractions bf16_contractions{"cuda.tenon", false, Precision::bf16, TENON_RUNS(bf16)};
const Contractions tf32_contractions{"cuda.tenon", false, Precision::tf32, TENON_RUNS(tf32)};
const Contractions tiled_contractions{"cuda.tenon", false, Precision::fp32, TENON_RUNS(tiled)};
const Contractions naive_contractions{"cuda.naive", true, Precision::fp32, TENON_RUNS(naive)};
#undef TENON_RUNS

}  // namespace tenon::cuda
