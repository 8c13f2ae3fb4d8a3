// What the kernels of convolutions with few input channels share: first layers, whose filters have 9 to 150 terms. So few terms give
// tensor cores nothing to do, and a view of conv2d.cuh spends more on finding them than on their products. Here the lines of an image lie
// in shared memory as fp32, padding and all, so that a term is an offset and nothing is checked in the inner loops.
#pragma once
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {

/// Images whose lines go to shared memory, pixel by pixel with all channels.
struct FewLines {
  const float* x;
  std::int32_t h, row;      // lines of an image, numbers of one
  std::int32_t line, left;  // numbers of a line in shared memory, of which so many lie before the image
  Divider by_line;

  FewLines(const ConvGeometry& g, const float* images, std::int32_t columns)
      : x(images),
        h(g.h),
        row(g.w * g.c),
        line(few_line(g, columns)),
        left(g.pad_left * g.c),
        by_line(few_line(g, columns)) {}

  /// Lines [y0, y0 + lines) of image n; zeros outside.
  template <int threads, class Array>
  __device__ void load(Array& shared, std::int64_t n, std::int32_t y0, std::int32_t lines) const {
    constexpr int together = 4;
    const float* image = x + n * h * row;
    const int all = lines * line;
    for (int from = static_cast<int>(threadIdx.x); from < all; from += threads * together) {
      float value[together];
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const int id = from + u * threads;
        std::int32_t i = id;
        const std::int32_t y = y0 + by_line.split(i);
        i -= left;
        const bool there = id < all && static_cast<std::uint32_t>(y) < static_cast<std::uint32_t>(h) &&
                           static_cast<std::uint32_t>(i) < static_cast<std::uint32_t>(row);
        value[u] = there ? image[y * row + i] : 0.f;
      }
#pragma unroll
      for (int u = 0; u < together; ++u)
        if (from + u * threads < all) shared[from + u * threads] = value[u];
    }
  }
};

/// What it takes to undo an epilogue, of those of takes_few_undo().
enum class Saved : std::uint8_t { nothing, relu, mask, pooled };
inline Saved saved_of(const ConvGeometry& g) {
  if (g.mask) return g.pool ? Saved::pooled : Saved::mask;
  return static_cast<op::UnaryFn>(g.activation) == op::UnaryFn::relu ? Saved::relu : Saved::nothing;
}

/// Where the dz of a position lies: the element of gy, less that of the sample, and the position in its window. -1: it has none.
struct FewPlace {
  std::int32_t element, position;
};
__device__ inline FewPlace few_place(const ConvGeometry& g, Saved saved, std::int32_t oy, std::int32_t ox) {
  if (saved != Saved::pooled) return {(oy * g.ow + ox) * g.k, 0};
  const std::int32_t py = oy / 2, px = ox / 2;
  return {py < g.ph && px < g.pw ? (py * g.pw + px) * g.k : -1, oy % 2 * 2 + ox % 2};
}

/// dz of four filters at a position, on its way from memory: what it takes is read first and undone later, so that several positions are
/// under way.
struct FewGradient {
  float gy[4], y[4];
  uchar4 mask;
  std::int32_t position;

  __device__ void fetch(const Undo& undo, Saved saved, std::int64_t first, const FewPlace& place, bool there) {
    const std::int64_t i = first + place.element;
    there = there && place.element >= 0;
    position = place.position;
#pragma unroll
    for (int q = 0; q < 4; ++q) gy[q] = y[q] = 0.f;
    mask = make_uchar4(0, 0, 0, 0);
    if (there) read_four(undo.gy + i, gy);
    if (there && saved == Saved::relu) read_four(static_cast<const float*>(undo.saved) + i, y);
    if (there && (saved == Saved::mask || saved == Saved::pooled))
      mask = *reinterpret_cast<const uchar4*>(static_cast<const std::uint8_t*>(undo.saved) + i);
  }
  __device__ void undone(const Undo& undo, Saved saved, float v[4]) const {
    const std::uint8_t bytes[4] = {mask.x, mask.y, mask.z, mask.w};
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      if (saved == Saved::nothing)
        v[q] = gy[q];
      else if (saved == Saved::relu)
        v[q] = y[q] <= 0.f ? 0.f : gy[q];
      else
        v[q] = bytes[q] == position ? gy[q] * undo.scale : 0.f;
    }
  }
};

}  // namespace tenon::cuda
