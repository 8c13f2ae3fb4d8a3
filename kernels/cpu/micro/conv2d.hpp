// What the convolution kernels share: zero-padded images, and dz.
// A tap in the padding then adds fma(0, w, acc), which is acc for finite w (kernels/common/order.hpp, dead terms).
#pragma once
#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/prologue.hpp"
#include "kernels/cpu/micro/transpose.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

TENON_INLINE std::int64_t terms_of(const Conv2dPlan& p) { return std::int64_t{p.g.kh} * p.g.kw * p.cg; }

TENON_INLINE std::int32_t team_size(const Call& call, const Conv2dPlan& p) {
  const std::int64_t work = std::int64_t{p.g.n} * p.g.oh * p.g.ow * p.g.k * terms_of(p);
  return work < 65536 ? 1 : static_cast<std::int32_t>(smaller(call.threads, p.threads));
}

/// The terms (kh, kw, c) of a window as runs of neighbours in memory: `outer` x `inner` runs of `length`.
struct Runs {
  std::int64_t outer, inner, length, outer_step, inner_step;
};
TENON_INLINE Runs runs_of(const Conv2dPlan& p) {
  const std::int64_t row = std::int64_t{p.g.dilation_h} * p.padded_w * p.g.c;
  if (p.g.dilation_w == 1 && p.g.groups == 1) return {p.g.kh, 1, std::int64_t{p.g.kw} * p.cg, row, 0};
  return {p.g.kh, p.g.kw, p.cg, row, std::int64_t{p.g.dilation_w} * p.g.c};
}

/// Of one image, where it has to be copied.
TENON_INLINE std::int64_t padded_floats(const Conv2dPlan& p) {
  return p.padded ? std::int64_t{p.padded_h} * p.padded_w * p.g.c : 0;
}

TENON_INLINE void clear_floats(float* to, std::int64_t count) {
  std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float));
}
/// A row of `size` floats: `count` from `from`, behind `left` zeros and before others.
TENON_INLINE void place_row(const float* from, std::int64_t count, std::int64_t left, std::int64_t size, float* to) {
  clear_floats(to, left);
  std::memcpy(to + left, from, static_cast<std::size_t>(count) * sizeof(float));
  clear_floats(to + left + count, size - left - count);
}

/// Image n with its padding, in `to`, or where it is when there is none.
TENON_INLINE const float* padded_image(const Conv2dPlan& p, const float* x, std::int64_t n, float* to) {
  const ConvGeometry& g = p.g;
  const float* image = x + n * g.h * g.w * g.c;
  if (!p.padded) return image;
  const std::int64_t row = std::int64_t{p.padded_w} * g.c;
  const std::int64_t rows = smaller(g.h, p.padded_h - g.pad_top), columns = smaller(g.w, p.padded_w - g.pad_left);
  const std::int64_t last = g.pad_top + rows;
  clear_floats(to, g.pad_top * row);
  for (std::int64_t y = 0; y < rows; ++y)
    place_row(image + y * g.w * g.c, columns * g.c, g.pad_left * g.c, row, to + (y + g.pad_top) * row);
  clear_floats(to + last * row, (p.padded_h - last) * row);
  return to;
}

/// Memory that will be read later, to be asked for by lines while something else is computed.
struct Lines {
  const float *at, *end;
  TENON_MEMBER std::int64_t lines() const { return (end - at + 15) / 16; }
};

/// A few neighbouring images in scratch; those that are there already are not made again.
struct HeldImages {
  float* scratch;
  std::int64_t each;  // floats
  Range there{0, 0};

  template <class Make>
  TENON_MEMBER void hold(Range wanted, const Make& make) {
    if (wanted.begin >= there.begin && wanted.end <= there.end) return;
    there = wanted;
    for (std::int64_t n = wanted.begin; n < wanted.end; ++n) make(n, scratch + (n - wanted.begin) * each);
  }
  TENON_MEMBER const float* at(std::int64_t n) const { return scratch + (n - there.begin) * each; }
};
/// Images with their padding, or where they lie when there is none.
struct Images {
  const Conv2dPlan& p;
  const float* x;
  HeldImages held;

  TENON_MEMBER void load(std::int64_t begin, std::int64_t end) {
    if (p.padded) held.hold({begin, end}, [&](std::int64_t n, float* to) { padded_image(p, x, n, to); });
  }
  TENON_MEMBER const float* at(std::int64_t n) const { return p.padded ? held.at(n) : x + n * p.g.h * p.g.w * p.g.c; }
};
TENON_INLINE Images images_of(const Conv2dPlan& p, const float* x, float* scratch) {
  return {p, x, {scratch, padded_floats(p)}};
}

/// What dropout and a mask without pool need, over a whole unit: an output row, or the row that a pool leaves of two.
TENON_INLINE void finish_unit(const Conv2dPlan& p, const Call& call, std::int64_t unit) {
  const ConvGeometry& g = p.g;
  if (!g.mask || (g.pool && g.dropout == 0.f)) return;
  const std::int64_t size = std::int64_t{g.pw} * g.k, at = unit * size;
  std::uint8_t* mask = output<std::uint8_t>(call, 1) + at;
  if (!g.pool) std::memset(mask, 0, static_cast<std::size_t>(size));
  const bool relu = static_cast<op::UnaryFn>(g.activation) == op::UnaryFn::relu && !g.pool;
  const std::int64_t element = at + call.first_sample * g.ph * size;
  finish_masked(output<float>(call, 0) + at, mask, element, size, relu, g.dropout, g.site, *call.control);
}

/// gy and mask of one image behind a pool, and what dropout multiplies by.
struct PooledGradient {
  const float* gy;
  const std::uint8_t* mask;
  float scale;
};
TENON_INLINE PooledGradient pooled_gradient(const ConvGeometry& g, const Call& call, std::int64_t n) {
  const std::int64_t at = n * g.ph * g.pw * g.k;
  return {input<float>(call, 0) + at, static_cast<const std::uint8_t*>(call.in[2]) + at,
          g.dropout > 0.f ? philox::dropout_scale(g.dropout) : 1.f};
}

/// What undoes the epilogue of a convolution without pool.
TENON_INLINE PrologueGeometry prologue_of(const ConvGeometry& g) {
  const auto fn = static_cast<op::UnaryFn>(g.activation);
  return {g.mask || fn != op::UnaryFn::identity, g.mask, fn, g.alpha, g.dropout};
}
/// dz[0, count) where nothing is pooled, from element `first` of the convolution's output.
TENON_INLINE void undo_elements(const PrologueGeometry& undo, const Call& call, std::int64_t first, std::int64_t count,
                                float* dz) {
  undo_epilogue(undo, input<float>(call, 0) + first, static_cast<const char*>(call.in[2]) + first * (undo.mask ? 1 : 4),
                dz, count);
}

/// dz of one image, dense: (oh, ow, k), dead terms 0. Returns gy itself where the epilogue left it alone.
TENON_INLINE const float* dense_dz(const Conv2dPlan& p, const Call& call, std::int64_t n, float* to) {
  const ConvGeometry& g = p.g;
  const std::int64_t full = std::int64_t{g.oh} * g.ow * g.k;
  if (!g.pool) {
    const PrologueGeometry undo = prologue_of(g);
    if (!undo.any) return input<float>(call, 0) + n * full;
    undo_elements(undo, call, n * full, full, to);
    return to;
  }
  clear_floats(to, full);
  const PooledGradient dz = pooled_gradient(g, call, n);
  for (std::int64_t y = 0; y < g.ph; ++y)
    for (std::int64_t x = 0; x < g.pw; ++x)
      for (std::int64_t k = 0; k < g.k; ++k) {
        const std::int64_t i = (y * g.pw + x) * g.k + k;
        if (dz.mask[i] == op::Epilogue::killed) continue;
        to[((2 * y + dz.mask[i] / 2) * g.ow + 2 * x + dz.mask[i] % 2) * g.k + k] = dz.gy[i] * dz.scale;
      }
  return to;
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
