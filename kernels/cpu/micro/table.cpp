// The table of this instruction set: the only thing that leaves the object library.
#include "kernels/cpu/micro/micro.hpp"
#include "kernels/cpu/micro/simd.hpp"

#define TENON_TEXT_(x) #x
#define TENON_TEXT(x) TENON_TEXT_(x)

namespace tenon::cpu::TENON_ISA {

#ifdef __FMA__
constexpr bool has_fma = true;
#else
constexpr bool has_fma = false;
#endif

extern const Microkernels table;
const Microkernels table{
    .provider = "cpu." TENON_TEXT(TENON_ISA),
    .width = width,
    .canonical = has_fma,
    .gemm = gemm,
    .conv2d_direct = conv2d_direct,
    .conv2d_grad_input = conv2d_grad_input,
    .conv2d_grad_filter = conv2d_grad_filter,
    .bias_add = bias_add,
    .bias_grad = bias_grad,
    .unary = unary,
    .unary_grad = unary_grad,
    .binary = binary,
    .pointwise_chain = pointwise_chain,
    .dropout = dropout,
    .dropout_grad = dropout_grad,
    .sigmoid_crossentropy = sigmoid_crossentropy,
    .sigmoid_crossentropy_grad = sigmoid_crossentropy_grad,
    .binary_crossentropy = binary_crossentropy,
    .binary_crossentropy_grad = binary_crossentropy_grad,
    .softmax = softmax,
    .softmax_grad = softmax_grad,
    .softmax_crossentropy = softmax_crossentropy,
    .softmax_crossentropy_grad = softmax_crossentropy_grad,
    .correct = correct,
    .max_pool2d = max_pool2d,
    .max_pool2d_grad = max_pool2d_grad,
    .avg_pool2d = avg_pool2d,
    .avg_pool2d_grad = avg_pool2d_grad,
    .transpose = transpose,
    .concat = concat,
    .slice = slice,
    .slice_grad = slice_grad,
    .gather = gather,
    .gather_grad = gather_grad,
    .broadcast_to = broadcast_to,
    .reduce = reduce,
    .reduce_select_grad = reduce_select_grad,
    .sgd = sgd,
    .adadelta = adadelta,
    .adagrad = adagrad,
    .rmsprop = rmsprop,
    .adam = adam,
    .accumulate_grad = accumulate_grad,
    .clip_norm = clip_norm,
    .assign_ema = assign_ema,
    .check_finite = check_finite,
};

}  // namespace tenon::cpu::TENON_ISA
