// The table of an instruction set with tiles: all that leaves its object library.
#include "kernels/cpu/bf16_kernels.hpp"

#define TENON_TEXT_(x) #x
#define TENON_TEXT(x) TENON_TEXT_(x)

namespace tenon::cpu::TENON_ISA {

extern const Bf16Kernels bf16_table;
const Bf16Kernels bf16_table{.provider = "cpu." TENON_TEXT(TENON_ISA),
                             .rounded = {.gemm = bf16_gemm,
                                         .conv2d_1x1 = bf16_conv2d_1x1,
                                         .conv2d_grad_input_1x1 = bf16_conv2d_grad_input_1x1,
                                         .conv2d = bf16_conv2d,
                                         .conv2d_grad_input = bf16_conv2d_grad_input,
                                         .conv2d_grad_filter = bf16_conv2d_grad_filter},
                             .split = {.gemm = split_gemm,
                                       .conv2d_1x1 = split_conv2d_1x1,
                                       .conv2d_grad_input_1x1 = split_conv2d_grad_input_1x1,
                                       .conv2d = split_conv2d,
                                       .conv2d_grad_input = split_conv2d_grad_input,
                                       .conv2d_grad_filter = split_conv2d_grad_filter},
                             .peak = bf16_peak};

}  // namespace tenon::cpu::TENON_ISA
