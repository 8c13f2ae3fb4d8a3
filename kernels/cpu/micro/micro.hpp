// The loops that are compiled once per instruction set, as one table of function pointers each. A function takes its
// geometry from Call::state, as the plain struct named beside it (kernels/cpu/geometry.hpp), prepared by the binding
// code in kernels/cpu/bind_*.cpp, which is baseline code.
#pragma once
#include "kernels/cpu/geometry.hpp"
#include "kernels/cpu/levels.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cpu {

// Every loop, behind the struct that it finds in Call::state. The members of the tables, the declarations of each
// instruction set and the tables are made from these two lists.
// clang-format off
/// Loops that are ours alone: the table of `cpu.eigen` holds a null pointer, and no row is made for that.
#define TENON_OWN_LOOPS(X)                                                             \
  /* GemmGeometry       */ X(gemm)                                                     \
  /* Conv2dPlan         */ X(conv2d_direct) X(conv2d_depthwise) X(conv2d_winograd)     \
                           X(conv2d_grad_input) X(conv2d_grad_input_dense)             \
                           X(conv2d_grad_filter)                                       \
  /* ChainGeometry      */ X(pointwise_chain)                                          \
  /* FmaGeometry        */ X(fma_peak)
/// Loops that `cpu.eigen` writes a second time, as a function of the same name in eigen_rows (eigen_*.cpp).
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
  /* AccumulateGeometry */ X(accumulate_grad)                                                              \
  /* ClipGeometry       */ X(clip_norm)                                                                    \
  /* EmaGeometry        */ X(assign_ema)                                                                   \
  /* no state           */ X(check_finite)
// clang-format on
#define TENON_MICROKERNELS(X) TENON_OWN_LOOPS(X) TENON_SHARED_LOOPS(X)

struct Microkernels {
  const char* provider;      // "cpu.avx512"
  std::int32_t width;        // floats in a vector
  std::int32_t tile_height;  // rows of a register tile
  bool canonical;            // has FMA
#define TENON_MEMBER_OF_TABLE(name) RunFn name;
  TENON_MICROKERNELS(TENON_MEMBER_OF_TABLE)
#undef TENON_MEMBER_OF_TABLE
};

/// Tables of the levels that were compiled in; whether the machine has them is backend.cpp's business.
#define TENON_DECLARE(level)       \
  namespace level {                \
  extern const Microkernels table; \
  }
TENON_LEVELS(TENON_DECLARE)
#undef TENON_DECLARE

}  // namespace tenon::cpu

#ifdef TENON_ISA
namespace tenon::cpu::TENON_ISA {
#define TENON_DECLARE(name) void name(const Call&);
TENON_MICROKERNELS(TENON_DECLARE)
#undef TENON_DECLARE
}  // namespace tenon::cpu::TENON_ISA
#endif
