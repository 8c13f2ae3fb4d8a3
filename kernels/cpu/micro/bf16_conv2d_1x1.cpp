// conv2d_1x1_bf16 and its input gradient: without padding a 1x1 convolution is a product.
//   y (positions, k) = epilogue(x (positions, c) filter (c, k)), where a stride leaves out pixels of x;
//   gx (positions, c) = dz (positions, k) filter^T, and 0 in the pixels between; dz is undone in fp32 before.
// Operands are rounded to bf16; of split ones (precision tf32) both halves are multiplied (bf16_pack.hpp).
// Layout, parallelisation: bf16_product.hpp; positions are rows, whatever image they belong to.
// Order: one chain per output, 32 terms at a time, no chunks.
// Error: (rounding + (terms + 1) * 2^-24) * sum |x w| at most, before the activation, where rounding is 2 * 2^-8, and
// 3 * 2^-16 of split numbers.
#include <omp.h>

#include "kernels/cpu/micro/bf16_product.hpp"
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Where the pixel that an output position reads lies in an image: its number.
TENON_INLINE std::int64_t pixel_of(const ConvGeometry& g, std::int64_t position) {
  if (g.stride_h == 1 && g.stride_w == 1) return position;
  const std::int64_t ox = position % g.ow, row = position / g.ow;
  return (row / g.oh * g.h + row % g.oh * g.stride_h) * g.w + ox * g.stride_w;
}

/// Pixels of x that outputs read.
template <bool split>
struct PixelRows {
  const ConvGeometry& g;
  const float* x;

  TENON_MEMBER void pack(Range rows, Bf16* to) const {
    for (std::int64_t r = rows.begin; r < rows.end; ++r)
      pack_row<split>(x + pixel_of(g, r) * g.c, g.c, r - rows.begin, to);
  }
  TENON_MEMBER void fetch(Range rows) const {
    for (std::int64_t r = rows.begin; r < rows.end; ++r) fetch_row(x + pixel_of(g, r) * g.c, g.c);
  }
};
/// Positions of dz; `line` has room for one.
template <bool split>
struct GradientRows {
  const ConvGeometry& g;
  const Call& call;
  PrologueGeometry undo;
  float* line;

  TENON_MEMBER void pack(Range rows, Bf16* to) const {
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const float* row = input<float>(call, 0) + r * g.k;
      if (undo.any) {
        undo_elements(undo, call, r * g.k, g.k, line);
        row = line;
      }
      pack_row<split>(row, g.k, r - rows.begin, to);
    }
  }
  TENON_MEMBER void fetch(Range rows) const { fetch_row(input<float>(call, 0) + rows.begin * g.k, rows.size() * g.k); }
};

/// y, through bias and activation.
struct PositionsOut {
  const ConvGeometry& g;
  float* y;
  const float* bias;
  bool past_caches;

  TENON_MEMBER void store(const float* z, Range rows, Range columns) const {
    pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, [&](const auto& f) {
      store_pixels(z, block_side, rows.size(), columns.size(), y + rows.begin * g.k + columns.begin, g.k,
                   bias != nullptr ? bias + columns.begin : nullptr, past_caches, f);
    });
  }
};

/// gx.
struct PixelsOut {
  const ConvGeometry& g;
  float* gx;
  bool past_caches;

  TENON_MEMBER float* at(std::int64_t r, Range columns) const { return gx + pixel_of(g, r) * g.c + columns.begin; }
  TENON_MEMBER void store(const float* z, Range rows, Range columns) const {
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      float* to = at(r, columns);
      for_each_lanes(columns.size(), [&](std::int64_t j, auto lanes) {
        store_out(to + j, lanes.load(z + (r - rows.begin) * block_side + j), past_caches, lanes);
      });
    }
  }
};

template <bool split>
void conv2d_1x1(const Call& call) {
  const auto& p = geometry<Bf16Conv1x1>(call);
  const ConvGeometry& g = p.conv.g;
  const float *x = input<float>(call, 0), *filter = input<float>(call, 1);
  const PositionsOut out{g, output<float>(call, 0), g.bias ? input<float>(call, 2) : nullptr,
                         may_pass(p.product.past_caches, output<float>(call, 0))};
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Range who{omp_get_thread_num(), omp_get_num_threads()};
    multiply_packed<split>(
        p.product, static_cast<float*>(call.workspace), who, PixelRows<split>{g, x},
        [&](Range columns, Bf16* to) { pack_right<split>(filter + columns.begin, g.c, g.k, columns.size(), 1, to); },
        out);
    if (g.mask) {
#pragma omp barrier
      const Range units = part(g.n * g.oh, who.begin, who.end);
      for (std::int64_t unit = units.begin; unit < units.end; ++unit) finish_unit(p.conv, call, unit);
    }
  }
}

template <bool split>
void conv2d_grad_input_1x1(const Call& call) {
  const auto& p = geometry<Bf16Conv1x1>(call);
  const ConvGeometry& g = p.conv.g;
  auto* work = static_cast<float*>(call.workspace);
  const float* filter = input<float>(call, 1);
  const PixelsOut out{g, output<float>(call, 0), may_pass(p.product.past_caches, output<float>(call, 0))};
  const bool between = g.stride_h * g.stride_w > 1;
  const std::int32_t threads = team_size(call, p.conv);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Range who{omp_get_thread_num(), omp_get_num_threads()};
    if (between) {
      const Range pixels = part(g.n * g.h * g.w, who.begin, who.end);
      clear_floats(out.gx + pixels.begin * g.c, pixels.size() * g.c);
    }
    float* line = work + p.product.own_at + who.begin * p.product.own_each + p.line_at;
    multiply_packed<split>(
        p.product, work, who, GradientRows<split>{g, call, prologue_of(g), line},
        [&](Range columns, Bf16* to) {
          pack_right<split>(filter + columns.begin * g.k, g.k, 1, columns.size(), g.k, to);
        },
        out);
  }
}

}  // namespace

void bf16_conv2d_1x1(const Call& call) { conv2d_1x1<false>(call); }
void split_conv2d_1x1(const Call& call) { conv2d_1x1<true>(call); }
void bf16_conv2d_grad_input_1x1(const Call& call) { conv2d_grad_input_1x1<false>(call); }
void split_conv2d_grad_input_1x1(const Call& call) { conv2d_grad_input_1x1<true>(call); }

}  // namespace tenon::cpu::TENON_ISA
