// Extents of a convolution or pooling from the problem that it is bound to; forward operations and their gradients
// describe the same forward geometry.
#pragma once
#include "kernels/common/conv_geometry.hpp"
#include "tenon/kernel.hpp"

namespace tenon {

/// Of op::Conv2d, Conv2dGradInput or Conv2dGradFilter. Throws UsageError for any other kind.
[[nodiscard]] ConvGeometry conv_geometry(const Problem&);
/// Of op::Pool2d or Pool2dGrad. Throws UsageError for any other kind.
[[nodiscard]] PoolGeometry pool_geometry(const Problem&);

}  // namespace tenon
