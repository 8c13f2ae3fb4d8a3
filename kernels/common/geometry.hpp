// What binding code hands to the loops of every provider, on the CPU and on the GPU: flat, plain structs without a single
// function, so that nothing here can become a weak symbol, and a struct crosses into a kernel by value.
#pragma once
#include <cstdint>

#include "kernels/common/conv_geometry.hpp"
#include "tenon/op.hpp"

namespace tenon {

/// Undoing an epilogue: dz = gy where the saved value keeps it alive (kernels/reference/epilogue.hpp is the
/// definition).
struct PrologueGeometry {
  bool any;   // false: dz is gy
  bool mask;  // the saved value is the mask, else y
  op::UnaryFn activation;
  float alpha, dropout;
};

/// c (m,n) = epilogue(a (m,k) b (k,n)), operands by strides. A product of one of the gradients has a prologue: operand 0 is
/// then the gradient dz (dz_rows, dz_cols), once its epilogue is undone.
struct ProductGeometry {
  std::int64_t m, n, k;
  std::int64_t a_row, a_col, b_row, b_col;  // strides in elements
  std::int32_t a_in, b_in;                  // numbers in Call::in; 0 is the gradient where there is a prologue
  PrologueGeometry prologue;                // saved value: Call::in[2]
  std::int64_t dz_rows, dz_cols;
  bool bias_grad;  // Call::out[1] = column sums of dz
  bool bias;       // Call::in[2]
  op::UnaryFn activation;
  float alpha, dropout;
  std::int32_t site;
  bool mask;  // Call::out[1]
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

}  // namespace tenon
