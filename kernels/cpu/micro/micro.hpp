// The loops that are compiled once per instruction set, as one table of function pointers each. A function takes its
// geometry from Call::state, as the plain struct named beside it (kernels/cpu/geometry.hpp), prepared by the binding
// code in kernels/cpu/bind_*.cpp, which is baseline code.
#pragma once
#include "kernels/common/loops.hpp"
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
                           X(conv2d_grad_filter) X(conv2d_grad_filter_dense)           \
                           X(conv2d_grad_filter_depthwise)                             \
                           X(conv2d_grad_input_depthwise)                              \
                           X(conv2d_one_channel) X(conv2d_grad_filter_one_channel)     \
  /* FmaGeometry        */ X(fma_peak)
// clang-format on
struct Microkernels : Loops {
  std::int32_t tile_height;  // rows of a register tile
#define TENON_MEMBER_OF_TABLE(name) RunFn name;
  TENON_OWN_LOOPS(TENON_MEMBER_OF_TABLE)
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
TENON_OWN_LOOPS(TENON_DECLARE)
TENON_LOOPS(TENON_DECLARE)
#undef TENON_DECLARE
}  // namespace tenon::cpu::TENON_ISA
#endif
