// The loops that multiply rounded operands, as one table per instruction set that has tiles, and what the binding code
// hands to their convolutions. A table of its own: these levels compile nothing else, every other operation runs on the
// rows of the levels below.
#pragma once
#include "kernels/cpu/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cpu {

/// A convolution on images of bf16, one image at a time. An image lies as its phases: with stride (sh, sw) the pixels
/// that agree in (y % sh, x % sw) lie together, row by row, so that neighbouring outputs read neighbouring pixels
/// whatever the stride, and the outputs of several rows are one run of positions, `line` to a row; the few between the
/// end of a row and the next are computed and left. Input gradients are convolutions of dz, which is one phase.
struct Bf16Conv {
  Conv2dPlan conv;                                   // extents, epilogue, threads, the workspace
  std::int64_t line, lines;                          // of a phase: positions to a row, rows
  std::int64_t depth;                                // channels of a position, padded to a multiple of 32
  std::int64_t image;                                // bf16s of one image, with what is read behind its end
  std::int64_t rows_block;                           // rows of the result that are worked on at a time
  std::int64_t channels, span;                       // filter gradient: rows of a turned phase, positions of each
  std::int64_t image_at, line_at, sums_at, taps_at;  // a thread's scratch, in floats
};

struct Bf16Kernels {
  const char* provider;  // "cpu.amx"
  RunFn gemm;            // GemmGeometry, as is the next
  RunFn split_gemm;      // both halves of every number: tf32
  RunFn conv2d;          // Bf16Conv, as are the others
  RunFn conv2d_grad_input;
  RunFn conv2d_grad_filter;
  RunFn peak;  // FmaGeometry: iterations of tile_peak_flops each
};
/// Four products of (16, 32) and (32, 16).
inline constexpr double tile_peak_flops = 4 * 2. * 16 * 16 * 32;

namespace amx {
extern const Bf16Kernels bf16_table;
}

/// One row for each operation.
void append_bf16_rows(KernelTable&, const Bf16Kernels&);

}  // namespace tenon::cpu

#ifdef TENON_ISA
namespace tenon::cpu::TENON_ISA {
void bf16_gemm(const Call&);
void split_gemm(const Call&);
void bf16_conv2d(const Call&);
void bf16_conv2d_grad_input(const Call&);
void bf16_conv2d_grad_filter(const Call&);
void bf16_peak(const Call&);
}  // namespace tenon::cpu::TENON_ISA
#endif
