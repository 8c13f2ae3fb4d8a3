// The loops that every provider may have, as one table of function pointers: what `cpu.avx2` is, what `cpu.eigen` is, and what
// the GPU's providers are. A loop takes its geometry from Call::state, as the plain struct named beside it
// (kernels/common/geometry.hpp); kernels/bind prepares it, the same for all of them. Contractions are not among them: their
// geometry depends on how a provider cuts them into blocks.
#pragma once
#include "kernels/common/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon {

// The members of the table, the declarations and the tables of each provider are made from these lists.
// clang-format off
/// Loops of single operations.
#define TENON_SHARED_LOOPS(X)                                                                              \
  /* BiasGeometry       */ X(bias_add) X(bias_grad)                                                        \
  /* UnaryGeometry      */ X(unary) X(unary_grad)                                                          \
  /* BinaryGeometry     */ X(binary)                                                                       \
  /* DropoutGeometry    */ X(dropout) X(dropout_grad)                                                      \
  /* LossGeometry       */ X(sigmoid_crossentropy) X(sigmoid_crossentropy_grad) X(binary_crossentropy)     \
                           X(binary_crossentropy_grad)                                                     \
  /* RowsGeometry       */ X(softmax) X(softmax_grad) X(softmax_crossentropy) X(softmax_crossentropy_grad) \
                           X(correct)                                                                      \
  /* PoolGeometry       */ X(max_pool2d) X(max_pool2d_grad) X(avg_pool2d) X(avg_pool2d_grad)               \
  /* TransposeGeometry  */ X(transpose)                                                                    \
  /* ConcatGeometry     */ X(concat)                                                                       \
  /* SliceGeometry      */ X(slice) X(slice_grad)                                                          \
  /* GatherGeometry     */ X(gather) X(gather_grad)                                                        \
  /* BroadcastGeometry  */ X(broadcast_to)                                                                 \
  /* ReduceGeometry     */ X(reduce) X(reduce_select_grad)                                                 \
  /* UpdateGeometry     */ X(sgd) X(adadelta) X(adagrad) X(rmsprop) X(adam)                                \
  /* AccumulateGeometry */ X(accumulate_grad) X(unscale_grad)                                              \
  /* ClipGeometry       */ X(clip_norm)                                                                    \
  /* EmaGeometry        */ X(assign_ema)                                                                   \
  /* no state           */ X(check_finite)
// clang-format on
/// All of them. The table of a provider that only runs single operations, as `cpu.eigen` does, holds a null pointer for
/// pointwise_chain (ChainGeometry), and no row is made for that.
#define TENON_LOOPS(X) TENON_SHARED_LOOPS(X) X(pointwise_chain)

struct Loops {
  const char* provider;  // "cpu.avx512"
  std::int32_t width;    // elements that are worked on together: floats in a vector
  bool canonical;        // keeps the order of kernels/common/order.hpp
#define TENON_MEMBER_OF_TABLE(name) RunFn name;
  TENON_LOOPS(TENON_MEMBER_OF_TABLE)
#undef TENON_MEMBER_OF_TABLE
};

}  // namespace tenon
