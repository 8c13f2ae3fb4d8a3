// The functions of the provider `cpu.eigen`, compiled once per instruction set, as one table. All but the contractions
// take the same geometry as the micro kernels and are bound by the same code, so they come as a table of that type. No
// type of Eigen's is seen here.
#pragma once
#include "kernels/cpu/micro/micro.hpp"

namespace tenon::cpu {

/// out (rows, cols) = left (rows, depth) right (depth, cols); `left` and `right` number the operands, and a transposed
/// one lies in memory as (depth, rows) or (cols, depth).
struct EigenProduct {
  std::int64_t rows, cols, depth;
  std::int32_t left, right;
  bool transpose_left, transpose_right;
};

/// A convolution as products over tiles of output positions (n, oh, ow); the workspace holds one matrix
/// (tile, depth) of gathered taps for each of `teams` threads, then `parts` partial filter gradients.
struct EigenConv {
  ConvGeometry conv;
  std::int64_t depth;  // kh kw c / groups: columns of the gathered matrix
  std::int64_t tile;   // positions
  std::int32_t teams, parts;
  bool direct;  // 1x1, stride 1, no padding: x itself is the gathered matrix
};

struct EigenKernels {
  Loops others;              // TENON_SHARED_LOOPS
  RunFn product;             // EigenProduct: matmul and both its gradients
  RunFn conv2d;              // EigenConv
  RunFn conv2d_grad_input;   // EigenConv
  RunFn conv2d_grad_filter;  // EigenConv
};

#define TENON_DECLARE(level)             \
  namespace level {                      \
  extern const EigenKernels eigen_table; \
  }
TENON_LEVELS(TENON_DECLARE)
#undef TENON_DECLARE

/// One row for each operation that the provider has. The table must outlive the rows.
void append_eigen_rows(KernelTable&, const EigenKernels&);

}  // namespace tenon::cpu

#ifdef TENON_ISA
namespace tenon::cpu::TENON_ISA::eigen_rows {
void product(const Call&);
void conv2d(const Call&);
void conv2d_grad_input(const Call&);
void conv2d_grad_filter(const Call&);
#define TENON_DECLARE(name) void name(const Call&);
TENON_SHARED_LOOPS(TENON_DECLARE)
#undef TENON_DECLARE
}  // namespace tenon::cpu::TENON_ISA::eigen_rows
#endif
