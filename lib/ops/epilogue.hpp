// Shapes of an op with an epilogue, shared by conv2d and matmul.
#pragma once
#include "lib/ops/check.hpp"

namespace tenon::op {

/// z (n,h,w,k) -> (n,h/2,w/2,k) with a pooled epilogue.
inline Shape after_pool(const Epilogue& e, Shape z) { return e.pool ? z.with(1, z[1] / 2).with(2, z[2] / 2) : z; }

/// Checks the epilogue against its operands (bias last) and gives y and, where it is saved, the mask.
inline SpecList epilogue_outputs(std::string_view op, const Epilogue& e, TensorSpec z, Specs in) {
  if (e.bias) {
    const TensorSpec expected{z.dtype, {z.shape[-1]}};
    require_same(op, "bias", in[2], expected);
  }
  if (e.saves_mask() && e.activation != UnaryFn::relu && e.activation != UnaryFn::identity)
    reject(op, "an epilogue with pool or dropout takes relu or no activation, found {}", name_of(e.activation));
  if (e.pool && (z.shape.rank() != 4 || z.shape[1] < 2 || z.shape[2] < 2))
    reject(op, "a pooled epilogue expects an image of at least 2x2, found {}", z.shape.str());
  const TensorSpec y{z.dtype, after_pool(e, z.shape)};
  SpecList out{y};
  if (e.saves_mask()) out.push_back({DType::u8, y.shape});
  return out;
}

}  // namespace tenon::op
