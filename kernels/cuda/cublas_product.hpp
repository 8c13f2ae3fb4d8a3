// Products of cuBLAS.
#pragma once
#include "kernels/cuda/libraries.hpp"

namespace tenon::cuda {

/// LibraryRow::bind of op::MatMul, MatMulGradA and MatMulGradB, in Precision::tf32 or fp32.
template <class Op, Precision P>
bool bind_cublas_product(Device*, const Problem&, LibraryStep*, Text* why);

/// to (columns, rows) = transpose of from (rows, columns), both dense and row-major. False and remembered where it fails. For runs,
/// which hold the mutex.
bool run_transpose(Libraries&, const Call&, const float* from, std::int64_t rows, std::int64_t columns, float* to);

}  // namespace tenon::cuda
