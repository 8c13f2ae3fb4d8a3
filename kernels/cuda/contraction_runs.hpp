// What product.cu and conv2d*.cu define, one function an operation and kind of kernel.
#pragma once
#include "tenon/kernel.hpp"

namespace tenon::cuda {

void product_tiled(const Call&);
void product_naive(const Call&);
void product_tf32(const Call&);
void product_bf16(const Call&);
void product_fp16(const Call&);
void conv2d_tiled(const Call&);
void conv2d_naive(const Call&);
void conv2d_tf32(const Call&);
void conv2d_bf16(const Call&);
void conv2d_fp16(const Call&);
void conv2d_grad_input_tiled(const Call&);
void conv2d_grad_input_naive(const Call&);
void conv2d_grad_input_tf32(const Call&);
void conv2d_grad_input_bf16(const Call&);
void conv2d_grad_input_fp16(const Call&);
void conv2d_grad_filter_tiled(const Call&);
void conv2d_grad_filter_naive(const Call&);
void conv2d_grad_filter_tf32(const Call&);
void conv2d_grad_filter_bf16(const Call&);
void conv2d_grad_filter_fp16(const Call&);
// Of few channels, where filter_gradient.hpp says that they take a problem: takes_few, takes_few_sums, takes_few_chains.
void conv2d_few(const Call&);
void conv2d_few_sums(const Call&);
void conv2d_few_chains(const Call&);

}  // namespace tenon::cuda
