// Rows of cuDNN, as LibraryRow::bind.
#pragma once
#include "kernels/cuda/libraries.hpp"

namespace tenon::cuda {

/// Of op::Conv2d, Conv2dGradInput and Conv2dGradFilter, in Precision::tf32 or fp32.
template <class Op, Precision P>
bool bind_cudnn_convolution(Device*, const Problem&, LibraryStep*, Text* why);

bool bind_cudnn_pool2d(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_pool2d_grad(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_softmax(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_softmax_grad(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_unary(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_unary_grad(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_bias_add(Device*, const Problem&, LibraryStep*, Text* why);
bool bind_cudnn_bias_grad(Device*, const Problem&, LibraryStep*, Text* why);

/// cuDNN pads both sides of an axis alike. What stands behind the last window does not matter: false only where the same padding
/// in front and behind gives another number of windows than `count`. `span` is the extent of a window.
constexpr bool pads_alike(std::int64_t extent, std::int64_t pad, std::int64_t span, std::int64_t stride,
                          std::int64_t count) {
  const std::int64_t room = extent + 2 * pad - span;
  return room >= 0 && room / stride + 1 == count;
}
inline bool refuse_padding(Text* why) {
  return refuse(why, "pads both sides of an axis alike, found padding that differs");
}

}  // namespace tenon::cuda
