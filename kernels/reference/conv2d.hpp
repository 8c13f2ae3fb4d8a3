// The loops of conv2d, which matmul shares: a product of matrices is a convolution of 1x1 images.
#pragma once
#include "kernels/common/conv_geometry.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {

/// y = epilogue(x * filter); scratch of conv2d_scratch() elements.
template <class T>
void conv2d_forward(const ConvGeometry&, const T* x, const T* filter, const T* bias, T* y, std::uint8_t* mask,
                    T* scratch, const Call&);
[[nodiscard]] std::int64_t conv2d_scratch(const ConvGeometry&);

/// Where conv2d_filter_gradient puts the element (tap and channel t, output channel k): t * per_term + k * per_output.
struct FilterLayout {
  std::int64_t per_term = 0, per_output = 1;
};

/// Chains over the samples of each group of `sample_group`, (n, oh, ow) ascending. gbias may be null.
template <class T>
void conv2d_filter_gradient(const ConvGeometry&, const T* gy, const T* x, const void* saved, T* gfilter, FilterLayout,
                            T* gbias, std::int64_t sample_group, T* scratch, const Call&);
[[nodiscard]] std::int64_t conv2d_filter_gradient_scratch(const ConvGeometry&, std::int64_t sample_group);

}  // namespace tenon::reference
