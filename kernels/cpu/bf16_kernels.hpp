// The loops that multiply rounded operands, as one table per instruction set that has tiles, and what the binding code
// hands to their convolutions. A table of its own: these levels compile nothing else, every other operation runs on the
// rows of the levels below.
#pragma once
#include "kernels/cpu/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cpu {

/// A convolution on images of bf16. An image lies as its phases: with stride (sh, sw) the pixels that agree in (y % sh,
/// x % sw) lie together, row by row, so that neighbouring outputs read neighbouring pixels whatever the stride, and the
/// outputs of several rows are one run of positions, `line` to a row; the few between the end of a row and the next are
/// computed and left. Input gradients are convolutions of dz, which is one phase. An image of few channels lies as it is,
/// and a row of the filter is one tap (`rows_as_terms`). Distances in bf16s.
struct Bf16Conv {
  Conv2dPlan conv;                   // extents, epilogue, threads, the workspace
  std::int64_t line, lines;          // of a phase: positions to a row, rows
  std::int64_t depth;                // terms of a tap, padded to a multiple of 32
  std::int64_t step, row;            // from position to position, from row to row of a phase
  std::int64_t lower;                // of split images: from upper halves to lower
  std::int64_t image;                // from image to image, with what is read behind its end
  std::int64_t taps, panels, panel;  // taps of a filter; panels of 32 outputs, and the size of one, packed
  bool rows_as_terms;
  bool by_panels;            // threads share the panels, else the rows of the result
  bool past_caches;          // the result is larger than they are
  std::int64_t images_each;  // by rows: images that are packed at a time
  std::int64_t rows_block;   // rows of the result that are worked on at a time
  std::int64_t pitch;        // positions from row to row of their sums
  std::int64_t claims_at;
  std::int64_t image_at, filters_at, line_at, sums_at, taps_at;  // a thread's scratch, in floats
};

/// A filter gradient of bf16. The images of a piece lie turned, as rows (phase, channel) of positions, `span` of each image, in
/// the phases and lines of Bf16Conv; or, where a filter reads each pixel once, as tiles of a run of positions. Distances
/// in bf16s.
struct Bf16GradFilter {
  Conv2dPlan conv;                // extents, epilogue, threads, the partial sums
  std::int64_t line, lines;       // of a phase: positions to a row, rows
  std::int64_t channels, span;    // rows of a phase, positions of an image
  bool rows_as_terms;             // as in Bf16Conv
  std::int64_t taps, terms;       // of a filter; channels of a tap
  std::int64_t run;               // most positions of a piece, or 0: pieces are images,
  std::int64_t images_each;       // so many
  std::int64_t panels_each;       // panels of dz that are packed at a time
  std::int64_t row, below, step;  // from channel to channel, to 16 channels more, to 32 positions more
  std::int64_t lower;             // of split images: from upper halves to lower
  std::int64_t turned_at, pairs_at, line_at, frame_at, images_at, pixels_at;  // a thread's scratch, in floats
};

/// A product of two operands that are packed for it, and its workspace in floats: shared by the threads, and each one's
/// own, in which the others are offsets.
struct TileProduct {
  std::int64_t m, n, k;
  bool by_panels;            // threads share the columns, else the rows
  bool past_caches;          // c is larger than they are
  std::int64_t blocks_each;  // by rows: blocks of 32 rows that are packed at a time
  bool panels_first;         // by rows: all panels pass a block before the next one, as they stay in L2
  std::int64_t shared_at, claims_at, own_at, own_each, sums_at;
};
/// A 1x1 convolution without padding, or its input gradient, as a product.
struct Bf16Conv1x1 {
  Conv2dPlan conv;
  TileProduct product;
  std::int64_t line_at;  // a row of dz, in a thread's own workspace
};

/// The loops of one class of arithmetic.
struct TileLoops {
  RunFn gemm;        // GemmGeometry
  RunFn conv2d_1x1;  // Bf16Conv1x1, as is the next
  RunFn conv2d_grad_input_1x1;
  RunFn conv2d;  // Bf16Conv, as is the next
  RunFn conv2d_grad_input;
  RunFn conv2d_grad_filter;  // Bf16GradFilter
};
struct Bf16Kernels {
  const char* provider;  // "cpu.amx"
  TileLoops rounded;     // bf16
  TileLoops split;       // both halves of every number: tf32
  RunFn peak;            // FmaGeometry: iterations of tile_peak_flops each
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
void bf16_conv2d_1x1(const Call&);
void split_conv2d_1x1(const Call&);
void bf16_conv2d_grad_input_1x1(const Call&);
void split_conv2d_grad_input_1x1(const Call&);
void bf16_conv2d(const Call&);
void split_conv2d(const Call&);
void bf16_conv2d_grad_input(const Call&);
void split_conv2d_grad_input(const Call&);
void bf16_conv2d_grad_filter(const Call&);
void split_conv2d_grad_filter(const Call&);
void bf16_peak(const Call&);
}  // namespace tenon::cpu::TENON_ISA
#endif
