// The loops that are compiled once per instruction set, as one table of function pointers each. A function takes its
// geometry from Call::state, as the plain struct named beside it (kernels/cpu/geometry.hpp), prepared by the binding
// code in kernels/cpu/bind_*.cpp, which is baseline code.
#pragma once
#include "kernels/cpu/geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cpu {

struct Microkernels {
  const char* provider;  // "cpu.avx512"
  std::int32_t width;    // floats in a vector
  bool canonical;        // has FMA
  // contractions
  RunFn gemm;                // GemmGeometry: matmul and both its gradients
  RunFn conv2d_direct;       // Conv2dPlan
  RunFn conv2d_grad_input;   // Conv2dPlan
  RunFn conv2d_grad_filter;  // Conv2dPlan
  RunFn bias_add;            // BiasGeometry
  RunFn bias_grad;           // BiasGeometry
  // pointwise
  RunFn unary;            // UnaryGeometry
  RunFn unary_grad;       // UnaryGeometry
  RunFn binary;           // BinaryGeometry
  RunFn pointwise_chain;  // ChainGeometry; may be missing
  RunFn dropout;          // DropoutGeometry
  RunFn dropout_grad;
  RunFn sigmoid_crossentropy, sigmoid_crossentropy_grad;  // LossGeometry
  RunFn binary_crossentropy, binary_crossentropy_grad;    // LossGeometry
  // rows
  RunFn softmax;                    // RowsGeometry
  RunFn softmax_grad;               // RowsGeometry
  RunFn softmax_crossentropy;       // RowsGeometry
  RunFn softmax_crossentropy_grad;  // RowsGeometry
  RunFn correct;                    // RowsGeometry
  // pooling
  RunFn max_pool2d, max_pool2d_grad, avg_pool2d, avg_pool2d_grad;  // PoolGeometry
  // shape
  RunFn transpose;                // TransposeGeometry
  RunFn concat;                   // ConcatGeometry
  RunFn slice, slice_grad;        // SliceGeometry
  RunFn gather, gather_grad;      // GatherGeometry
  RunFn broadcast_to;             // BroadcastGeometry
  RunFn reduce;                   // ReduceGeometry
  RunFn reduce_select_grad;       // ReduceGeometry
  // updates
  RunFn sgd, adadelta, adagrad, rmsprop, adam;  // UpdateGeometry
  RunFn accumulate_grad;                        // AccumulateGeometry
  RunFn clip_norm;                              // ClipGeometry
  RunFn assign_ema;                             // EmaGeometry
  RunFn check_finite;                           // none
};

/// Tables of the levels that were compiled in; whether the machine has them is dispatch.cpp's business.
namespace baseline {
extern const Microkernels table;
}
namespace avx2 {
extern const Microkernels table;
}
namespace avx512 {
extern const Microkernels table;
}

}  // namespace tenon::cpu

#ifdef TENON_ISA
namespace tenon::cpu::TENON_ISA {
void gemm(const Call&);
void conv2d_direct(const Call&);
void conv2d_grad_input(const Call&);
void conv2d_grad_filter(const Call&);
void bias_add(const Call&);
void bias_grad(const Call&);
void unary(const Call&);
void unary_grad(const Call&);
void binary(const Call&);
void pointwise_chain(const Call&);
void dropout(const Call&);
void dropout_grad(const Call&);
void sigmoid_crossentropy(const Call&);
void sigmoid_crossentropy_grad(const Call&);
void binary_crossentropy(const Call&);
void binary_crossentropy_grad(const Call&);
void softmax(const Call&);
void softmax_grad(const Call&);
void softmax_crossentropy(const Call&);
void softmax_crossentropy_grad(const Call&);
void correct(const Call&);
void max_pool2d(const Call&);
void max_pool2d_grad(const Call&);
void avg_pool2d(const Call&);
void avg_pool2d_grad(const Call&);
void transpose(const Call&);
void concat(const Call&);
void slice(const Call&);
void slice_grad(const Call&);
void gather(const Call&);
void gather_grad(const Call&);
void broadcast_to(const Call&);
void reduce(const Call&);
void reduce_select_grad(const Call&);
void sgd(const Call&);
void adadelta(const Call&);
void adagrad(const Call&);
void rmsprop(const Call&);
void adam(const Call&);
void accumulate_grad(const Call&);
void clip_norm(const Call&);
void assign_ema(const Call&);
void check_finite(const Call&);
}  // namespace tenon::cpu::TENON_ISA
#endif
