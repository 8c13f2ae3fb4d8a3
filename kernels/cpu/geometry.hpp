// What the binding code hands to the loops of kernels/cpu/micro: flat, plain structs without a single function, so that
// nothing here can become a weak symbol.
#pragma once
#include <cstdint>

#include "kernels/common/conv_geometry.hpp"
#include "tenon/op.hpp"

namespace tenon::cpu {

/// Undoing an epilogue: dz = gy where the saved value keeps it alive (kernels/reference/epilogue.hpp is the
/// definition).
struct PrologueGeometry {
  bool any;   // false: dz is gy
  bool mask;  // the saved value is the mask, else y
  op::UnaryFn activation;
  float alpha, dropout;
};

/// Floats between packed rows of a: a chunk of k and one cache line; the short one where k fits into it.
inline constexpr std::int64_t gemm_stride = 1024 + 16, gemm_short_stride = 128 + 16;

/// c (m,n) = epilogue(a (m,k) b (k,n)), operands by strides; c is row-major, or column-major where `turned`.
struct GemmGeometry {
  std::int64_t m, n, k;
  std::int64_t a_row, a_col, b_row, b_col;  // strides in elements
  bool turned;
  std::int64_t a_stride;      // of packed a: gemm_stride, gemm_short_stride, or 0 for [k][rows]
  std::int32_t a_in, b_in;    // numbers in Call::in; 0 is the gradient where there is a prologue
  PrologueGeometry prologue;  // saved value: Call::in[2]
  std::int64_t dz_rows, dz_cols;
  bool bias_grad;  // Call::out[1] = column sums of dz
  bool bias;       // Call::in[2]
  op::UnaryFn activation;
  float alpha, dropout;
  std::int32_t site;
  bool mask;  // Call::out[1]
  // Blocking.
  std::int32_t threads;     // at most
  bool b_in_place;          // whole panels of b are read where they lie
  bool by_chunks;           // threads share k, not c
  bool sums_to_c;           // one chunk, and no epilogue: sums are results
  std::int64_t tile_block;  // tiles of a, columns of b and rows of c that are worked on at a time
  std::int64_t column_block, row_block;
  // Workspace, offsets in floats; b_at and stack_at count from a thread's own part.
  std::int64_t dz_at, sums_at, slots_at, own_at, own_each, b_at, stack_at;
};

/// The output positions that reach an image, where they are more or less than there are: dz with zeros around it.
struct DzFrame {
  std::int64_t top, left, h, w;   // first position and extents
  std::int64_t reach_h, reach_w;  // positions from tap to tap of one residue modulo the stride
};

/// A convolution with the layout of its workspace, offsets in floats.
struct Conv2dPlan {
  ConvGeometry g;
  std::int32_t threads;                   // at most
  std::int32_t cg, kg;                    // channels and filters of a group
  bool padded;                            // false: the image is used where it lies
  std::int32_t padded_h, padded_w;        // of the zero-padded image: as far as the windows reach
  std::int32_t panels;                    // of 2 * width filters, per group
  std::int64_t unit_block, images_block;  // output rows that share a piece of the filter, images they may touch
  std::int64_t filter_at;                 // the filter, packed
  std::int64_t scratch_at, scratch_each;  // per thread
  std::int64_t partial_at, partial_each;  // per sample group: filter gradient, then bias gradient
  DzFrame dz;                             // dense input gradient
  bool depthwise;                         // a filter of its own for every channel
  bool by_channel;                        // filter gradient walks lists of live positions
};

/// Contiguous elementwise work on n elements.
struct UnaryGeometry {
  op::UnaryFn fn;
  float alpha, beta;
  std::int64_t n;
};
/// Broadcast pointwise work, neighbouring axes merged; strides in elements, 0 where broadcast. Innermost axis last.
struct BinaryGeometry {
  op::BinaryFn fn;
  std::int32_t rank;
  std::int64_t extent[8], stride_a[8], stride_b[8];
};
/// Instructions over n elements; an operand that is one value repeats.
struct ChainGeometry {
  op::PointwiseChain chain;
  bool one_value[op::PointwiseChain::max_operands];
  std::int64_t n;
};
struct DropoutGeometry {
  float rate;
  std::int32_t site;
  std::int64_t n;
};
struct LossGeometry {
  float epsilon;
  std::int64_t n;
};
/// Row-wise work on (rows, cols).
struct RowsGeometry {
  std::int64_t rows, cols;
  bool log;      // softmax
  DType labels;  // of the target: i32 or u8 labels, f32 probabilities
};
struct BiasGeometry {  // x (n, inner, c): n samples of `inner` rows
  std::int64_t n, inner, c;
  bool by_sample;  // bias gradient: chains per sample group instead of per k_chunk rows
};
struct TransposeGeometry {
  std::int32_t rank;
  std::int64_t extent[8];  // of the output
  std::int64_t stride[8];  // of the input, per output axis
  std::int32_t element_bytes;
};
struct ConcatGeometry {  // parts (outer, part_bytes[i]) -> (outer, sum)
  std::int32_t parts;
  std::int64_t outer;
  std::int64_t part_bytes[16];
};
struct SliceGeometry {  // x (outer, extent_bytes) <-> y (outer, length_bytes) at begin_bytes
  std::int64_t outer, extent_bytes, begin_bytes, length_bytes;
};
struct GatherGeometry {  // table (rows, width), ids (count)
  std::int64_t rows, width, count;
};
struct BroadcastGeometry {  // strides of x per output axis, 0 where broadcast; merged
  std::int32_t rank;
  std::int64_t extent[8], stride[8];
};
struct ReduceGeometry {  // x (outer, n, inner) -> (outer, inner)
  op::ReduceFn fn;
  std::int64_t outer, n, inner;
};
struct UpdateGeometry {
  std::int64_t n;
  float lr_scale, weight_decay;
  bool clipped;
  float a, b, epsilon;  // momentum | rho | beta1; momentum | beta2
  bool flag;            // nesterov | epsilon_inside | decoupled
};
struct AccumulateGeometry {
  std::int64_t n;
  float scale;
};
struct ClipGeometry {
  std::int64_t n;
  float max_norm;
};
struct EmaGeometry {
  std::int64_t n;
  float momentum;
};
/// Independent chains of FMAs, as many as keep the two units of an x86-64 core busy, or the up to four of an AArch64 core, which
/// has the registers for that; seeds in Call::in[0]: the start of each chain, then the factor and the addend of all.
#if defined(__aarch64__)
inline constexpr int fma_chains = 24;
#else
inline constexpr int fma_chains = 12;
#endif
struct FmaGeometry {
  std::int64_t iterations;  // an FMA of every chain each
};

}  // namespace tenon::cpu
