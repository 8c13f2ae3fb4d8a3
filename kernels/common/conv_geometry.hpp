// The extents of one convolution or pooling, flat and plain, computed from a Problem where it is bound.
#pragma once
#include <cstdint>

namespace tenon {

/// x (n,h,w,c), filter (kh,kw,c/groups,k), z (n,oh,ow,k) before the epilogue; y (n,ph,pw,k) after it.
struct ConvGeometry {
  std::int64_t n = 0;
  std::int32_t h = 0, w = 0, c = 0;
  std::int32_t kh = 0, kw = 0, k = 0;
  std::int32_t oh = 0, ow = 0;
  std::int32_t ph = 0, pw = 0;  // oh/2, ow/2 with a pooled epilogue, else oh, ow
  std::int32_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int32_t pad_top = 0, pad_left = 0;
  std::int32_t groups = 1;
  // The epilogue, flat.
  bool bias = false, pool = false, mask = false;
  std::uint8_t activation = 0;  // op::UnaryFn
  float alpha = 0.f, dropout = 0.f;
  std::int32_t site = 0;
};

/// x (n,h,w,c) -> y (n,oh,ow,c).
struct PoolGeometry {
  std::int64_t n = 0;
  std::int32_t h = 0, w = 0, c = 0, oh = 0, ow = 0;
  std::int32_t window_h = 1, window_w = 1, stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
};

/// First and one-past-last tap of a window that begins at `begin` (may be negative) and stays inside [0, extent).
struct TapRange {
  std::int32_t first = 0, last = 0;
};
static constexpr TapRange taps_inside(std::int32_t begin, std::int32_t taps, std::int32_t dilation,
                                      std::int32_t extent) {
  const std::int32_t first = begin >= 0 ? 0 : (-begin + dilation - 1) / dilation;
  std::int32_t last = begin >= extent ? 0 : (extent - 1 - begin) / dilation + 1;
  if (last > taps) last = taps;
  return {first, last < first ? first : last};
}

}  // namespace tenon
