// Eigen for the eigen_*.cpp files alone. Its namespace gets the name of the instruction set, because its inline
// functions are weak symbols: under one name the linker would keep one copy for all sets.
// Threads are ours (OpenMP over blocks or strips), so Eigen's own are off; so are its assertions, which abort.
#pragma once
#define TENON_EIGEN_PASTE(isa) tenon_eigen_##isa
#define TENON_EIGEN_NAME(isa) TENON_EIGEN_PASTE(isa)
#define Eigen TENON_EIGEN_NAME(TENON_ISA)
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#define EIGEN_NO_IO
#define EIGEN_MPL2_ONLY
#define EIGEN_FAST_MATH 0  // with it sqrt goes through an estimate of 1 / sqrt, and the root of infinity is NaN
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined halves of its own AVX-512 intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Core>

#include "kernels/cpu/eigen_kernels.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

using Array = Eigen::Array<float, Eigen::Dynamic, 1>;
using In = Eigen::Map<const Array>;
using Out = Eigen::Map<Array>;
using Bytes = Eigen::Map<const Eigen::Array<std::uint8_t, Eigen::Dynamic, 1>>;

/// A matrix in memory that is not ours; `transposed` reads (cols, rows) as (rows, cols). Pitch in elements.
template <bool transposed>
using Layout = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, transposed ? Eigen::ColMajor : Eigen::RowMajor>;
template <bool transposed = false>
using InMatrix = Eigen::Map<const Layout<transposed>, 0, Eigen::OuterStride<>>;
using OutMatrix = Eigen::Map<Layout<false>, 0, Eigen::OuterStride<>>;

template <bool transposed = false>
TENON_INLINE InMatrix<transposed> in_matrix(const float* p, std::int64_t rows, std::int64_t cols, std::int64_t pitch) {
  return {p, rows, cols, Eigen::OuterStride<>(pitch)};
}
TENON_INLINE OutMatrix out_matrix(float* p, std::int64_t rows, std::int64_t cols, std::int64_t pitch) {
  return {p, rows, cols, Eigen::OuterStride<>(pitch)};
}

/// Maximum and minimum in which a NaN wins.
using Larger = Eigen::internal::scalar_max_op<float, float, Eigen::PropagateNaN>;
using Smaller = Eigen::internal::scalar_min_op<float, float, Eigen::PropagateNaN>;

/// body(begin, count) over [0, n) in blocks, threads over blocks. Blocks do not depend on the number of threads.
inline constexpr std::int64_t block = 4096;
template <class Body>
TENON_INLINE void for_each_block(const Call& call, std::int64_t n, const Body& body) {
  parallel_for(threads_for(call, n), blocks_of(n, block),
               [&](std::int64_t b) { body(b * block, smaller(block, n - b * block)); });
}

/// Threads for a contraction: a multiply-add is worth about an eighth of an element of pointwise work.
TENON_INLINE std::int32_t threads_for_products(const Call& call, std::int64_t multiply_adds) {
  return threads_for(call, multiply_adds / 8);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA::eigen_rows
