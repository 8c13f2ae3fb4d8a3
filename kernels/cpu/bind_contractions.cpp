// Binding of matmul, conv2d and their gradients: geometry and the layout of the workspace.
#include <algorithm>

#include "kernels/bind/product_geometry.hpp"
#include "kernels/bind/support.hpp"
#include "kernels/common/order.hpp"
#include "kernels/cpu/contraction_geometry.hpp"
#include "kernels/cpu/rows.hpp"

namespace tenon::cpu {
namespace {

/// The size of blocks of n, at most `at_most`, that differ by little.
std::int64_t evenly(std::int64_t n, std::int64_t at_most) {
  const std::int64_t blocks = (n + at_most - 1) / at_most;
  return (n + blocks - 1) / blocks;
}

// --- matmul -------------------------------------------------------------------------------------------------------

/// c^T = b^T a^T: the operands change places, and so do their strides.
void turn(GemmGeometry& g) {
  std::swap(g.m, g.n);
  std::swap(g.a_in, g.b_in);
  const std::int64_t row = g.a_row, col = g.a_col;
  g.a_row = g.b_col;
  g.a_col = g.b_row;
  g.b_row = col;
  g.b_col = row;
  g.turned = !g.turned;
}

Bound bind_gemm(const ProductGeometry& product, const Problem& p, const Microkernels& m) {
  GemmGeometry g{product};
  // A b with k along its rows has to be turned while it is packed; with few rows it is less work to turn c on its way
  // out.
  if (g.b_row == 1 && g.b_col != 1 && g.m < g.k) turn(g);
  const std::int64_t panel = 2 * m.width, tile = m.tile_height;
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk), depth = order::tree_depth(chunks),
                     terms = std::min(g.k, order::k_chunk);
  const std::int64_t slot = tile * panel;
  static_assert(gemm_stride == order::k_chunk + 16);
  g.a_stride = g.a_row == 1 && g.m > 1 ? 0 : g.k <= gemm_short_stride - 16 ? gemm_short_stride : gemm_stride;
  g.threads = p.threads;
  // Packing is one write and one read more per element of b, against m / 32 cycles of work on it. In place every tile of
  // rows meets all the pages that b's rows lie in, and rows further apart than a page share few sets of L1.
  g.b_in_place = g.b_col == 1 && g.m * g.b_row <= 65536 && g.b_row <= 1024;
  g.sums_to_c = chunks == 1 && !g.turned && !g.bias && g.activation == op::UnaryFn::identity;
  g.by_chunks = chunks > 1 && g.m * g.n <= 65536;
  // A block of a and a block of b fit in L2 together: 256 and 512 KiB.
  const std::int64_t a_line = g.a_stride == 0 ? terms : g.a_stride;
  g.tile_block = std::clamp<std::int64_t>(98304 / (a_line * tile), 1, (g.m + tile - 1) / tile);
  g.column_block = std::clamp(131072 / terms / panel * panel, panel, rounded(g.n, panel));
  g.row_block = chunks == 1 ? g.m : std::min(g.m, evenly((g.m + tile - 1) / tile, 20) * tile);

  Workspace own;
  (void)own.take(g.tile_block * tile * a_line);
  g.b_at = own.take(terms * g.column_block);
  if (chunks == 1) g.stack_at = own.take(std::max<std::int64_t>(g.tile_block, 4) * slot);
  if (chunks > 1 && !g.by_chunks) g.stack_at = own.take(rounded(g.row_block, tile) * g.column_block * depth);
  g.own_each = own.floats();
  Workspace w;
  if (g.prologue.any) g.dz_at = w.take(g.dz_rows * g.dz_cols);
  if (g.bias_grad) g.sums_at = w.take(g.dz_cols * order::tree_depth(order::chunks(g.dz_rows, order::k_chunk)));
  if (g.by_chunks) g.slots_at = w.take(chunks * (rounded(g.m, tile) / tile) * (rounded(g.n, panel) / panel) * slot);
  g.own_at = w.take(g.own_each * g.threads);
  return make_step(m.gemm, g, w.bytes());
}

Bound bind_matmul(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  return bind_gemm(bind::matmul_geometry(p), p, micro(row));
}
Bound bind_matmul_grad_a(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_gemm(bind::matmul_grad_a_geometry(p), p, micro(row));
}
Bound bind_matmul_grad_b(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_gemm(bind::matmul_grad_b_geometry(p), p, micro(row));
}

// --- conv2d -------------------------------------------------------------------------------------------------------

std::int64_t padded_floats(const Conv2dPlan& c) { return c.padded ? std::int64_t{c.padded_h} * c.padded_w * c.g.c : 0; }
std::int64_t terms_of(const Conv2dPlan& c) { return std::int64_t{c.g.kh} * c.g.kw * c.cg; }

Bound finish(Conv2dPlan& c, RunFn run, std::int64_t filter, std::int64_t scratch, std::int64_t partials) {
  Workspace w;
  c.filter_at = w.take(filter);
  c.scratch_each = rounded(scratch, 16);
  c.scratch_at = w.take(c.scratch_each * c.threads);
  c.partial_at = w.take(partials);
  return make_step(run, c, w.bytes());
}

/// The live terms of a row of windows: two floats each, and where those of every window begin.
std::int64_t live_row_floats(const ConvGeometry& g, std::int64_t slack) {
  return 2 * (std::int64_t{g.pw} * g.k + slack) + g.pw + 1;
}
/// Offsets into an image are 32-bit in the lists of live terms.
std::optional<Refusal> refuse_large(const Conv2dPlan& c) {
  if (std::int64_t{c.padded_h} * c.padded_w * c.g.c >= std::int64_t{1} << 31)
    return Refusal{"images of 2^31 elements and more"};
  return std::nullopt;
}

/// Grey images: so few terms that weights and sums stay in registers. What the loops are compiled for.
bool one_channel(const ConvGeometry& g, const Microkernels& m) {
  const bool taps = (g.kh == 3 && g.kw == 3) || (g.kh == 5 && g.kw == 5 && m.tile_height > 6);
  return g.c == 1 && g.groups == 1 && !g.pool && taps && g.dilation_h == 1 && g.dilation_w == 1;
}

Bound bind_conv2d_winograd(const Problem& p, const Kernel& row) {
  const Microkernels& m = micro(row);
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  Conv2dPlan c = conv_plan(p, 2 * m.width);
  const ConvGeometry& g = c.g;
  if (g.kh != 3 || g.kw != 3 || g.stride_h != 1 || g.stride_w != 1 || g.dilation_h != 1 || g.dilation_w != 1 ||
      g.groups != 1)
    return Refusal{"expects a 3x3 filter with stride 1, no dilation and one group"};
  // The transforms cost the same for every channel; few channels leave little to multiply.
  if (g.c < 8 || g.k < 8) return Refusal{"expects 8 channels and 8 filters or more"};
  if (g.oh < 4 || g.ow < 4) return Refusal{"expects 4x4 outputs or more"};
  const std::int64_t across = (g.ow + 3) / 4, down = (g.oh + 3) / 4, panel = 2 * m.width;
  // Input tiles are whole: six rows and columns each, four apart.
  const auto need_h = static_cast<std::int32_t>(4 * down + 2), need_w = static_cast<std::int32_t>(4 * across + 2);
  c.padded = g.pad_top != 0 || g.pad_left != 0 || g.h < need_h || g.w < need_w;
  c.padded_h = c.padded ? need_h : g.h;
  c.padded_w = c.padded ? need_w : g.w;
  c.images_block = 1;
  return finish(c, m.conv2d_winograd, 36 * c.panels * panel * g.c,
                padded_floats(c) + 36 * std::int64_t{m.tile_height} * (g.c + panel), 0);
}

Bound bind_conv2d(const Problem& p, const Kernel& row) {
  const Microkernels& m = micro(row);
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  Conv2dPlan c = conv_plan(p, 2 * m.width);
  if (one_channel(c.g, m)) {
    c.images_block = 1;
    return finish(c, m.conv2d_one_channel, 0, padded_floats(c), 0);
  }
  if (c.depthwise) return finish(c, m.conv2d_depthwise, 0, 0, 0);
  const std::int64_t panel = 2 * m.width, chunks = order::chunks(terms_of(c), order::k_chunk);
  // Enough pixels to pay for reading a chunk of a panel (128 KiB) from L3, few enough for their sums to stay in L2.
  const std::int64_t pixels = std::int64_t{c.g.ow} * (c.g.pool ? 2 : 1);
  c.unit_block = std::clamp<std::int64_t>(256 / pixels, 1, std::int64_t{c.g.n} * c.g.ph);
  c.images_block = (c.unit_block - 1) / c.g.ph + 2;
  const std::int64_t stack = pixels * panel * (chunks == 1 ? 1 : c.unit_block * order::tree_depth(chunks));
  return finish(c, m.conv2d_direct, std::int64_t{c.g.groups} * c.panels * panel * terms_of(c),
                c.images_block * padded_floats(c) + stack, 0);
}

Bound bind_conv2d_grad_input(const Problem& p, const Kernel& row) {
  const Microkernels& m = micro(row);
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Conv2dPlan c = conv_plan(p, 2 * m.width);
  if (auto why = refuse_large(c)) return *why;
  const ConvGeometry& g = c.g;
  if (c.depthwise) {
    c.dz = dz_frame(g);
    return finish(c, m.conv2d_grad_input_depthwise, 0, std::int64_t{g.oh} * g.ow * g.k, 0);
  }
  if (!g.pool) {
    const std::int64_t panel = 2 * m.width, panels = g.groups * (rounded(c.cg, panel) / panel);
    c.dz = dz_frame(g);
    c.unit_block = std::clamp<std::int64_t>(256 / g.w, 1, std::int64_t{g.n} * g.h);
    c.images_block = (c.unit_block - 1) / g.h + 2;
    return finish(c, m.conv2d_grad_input_dense, panels * panel * g.kh * g.kw * c.kg,
                  c.images_block * c.dz.h * c.dz.w * g.k + c.unit_block * g.w * panel, 0);
  }
  if (terms_of(c) * g.k >= std::int64_t{1} << 29) return Refusal{"filters of 2^29 elements and more"};
  // A list of all terms that may be alive, two floats each, and where those of every position begin.
  const std::int64_t positions = std::int64_t{g.ph} * g.pw, slack = m.width;
  return finish(c, m.conv2d_grad_input, terms_of(c) * g.k,
                padded_floats(c) + 2 * (positions * g.k + slack) + 4 * positions + 1 + live_row_floats(g, slack), 0);
}

/// Rows of windows whose lists are walked together. The lists of all filters read the same part of x, which should be
/// near, but for every band the gradients of all filters pass by: about 64 KiB of x, by measurement. A list reads up to
/// three rows of x for a row of positions, and of each no more than fits into registers.
std::int64_t windows_in_band(const Conv2dPlan& c, const Microkernels& m) {
  const ConvGeometry& g = c.g;
  const std::int64_t line = std::min(std::int64_t{c.padded_w} * g.c, std::int64_t{g.pw} * 2 * 6 * m.width),
                     around = std::int64_t{std::min(g.kh, 3) - 1} * g.dilation_h + 1 - g.stride_h;
  return std::max<std::int64_t>((16384 / line - around) / (2 * std::int64_t{g.stride_h}), 1);
}

Bound bind_conv2d_grad_filter(const Problem& p, const Kernel& row) {
  const Microkernels& m = micro(row);
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Conv2dPlan c = conv_plan(p, 2 * m.width);
  if (auto why = refuse_large(c)) return *why;
  const ConvGeometry& g = c.g;
  if (one_channel(g, m)) {
    c.partial_each = rounded(terms_of(c) * g.k + (g.bias ? g.k : 0), 16);
    return finish(c, m.conv2d_grad_filter_one_channel, 0, padded_floats(c),
                  c.partial_each * order::chunks(g.n, order::sample_group));
  }
  const std::int64_t panel = 2 * m.width, positions = std::int64_t{g.oh} * g.ow, terms = terms_of(c),
                     groups = order::chunks(g.n, order::sample_group);
  if (c.depthwise) {
    c.partial_each = rounded(terms * g.k + (g.bias ? g.k : 0), 16);
    return finish(c, m.conv2d_grad_filter_depthwise, 0, positions * g.k, c.partial_each * groups);
  }
  // Lists pay where dead terms are many and a window's row fills vectors: neighbouring taps must be neighbours in
  // memory. They have 16 bits for a filter's number, and 15 for a column's.
  if (g.pool && g.groups == 1 && g.dilation_w == 1 && g.kw * g.c >= m.width && g.k < 65536 && g.pw < 16384) {
    c.partial_each = rounded(terms * g.k + (g.bias ? g.k : 0), 16);
    c.unit_block = evenly(g.ph, windows_in_band(c, m));
    const std::int64_t lists = 2 * (c.unit_block * g.pw + 1) * g.k, rows = 4 * (std::int64_t{g.pw} * g.k + m.width);
    return finish(c, m.conv2d_grad_filter, 0, padded_floats(c) + 1 + lists + rows, c.partial_each * groups);
  }
  // About 256 positions in a block: so many pay for the way of their sums to memory and back, and a panel of dz stays in
  // L2 with its taps in L1. Blocks of the same size.
  const std::int64_t most = 256, group = std::min<std::int64_t>(g.n, order::sample_group);
  c.images_block = evenly(group, std::max<std::int64_t>(most / positions, 1));
  c.unit_block = c.images_block > 1 ? g.oh : evenly(g.oh, std::max<std::int64_t>(most / g.ow, 1));
  const std::int64_t block = c.images_block * c.unit_block * g.ow, panels = std::int64_t{g.groups} * c.panels;
  // Of an image as many rows as a block meets.
  if (c.padded)
    c.padded_h = static_cast<std::int32_t>((c.unit_block - 1) * g.stride_h + std::int64_t{g.kh - 1} * g.dilation_h + 1);
  c.partial_each = rounded(panels * panel * (terms + (g.bias ? 1 : 0)), 16);
  return finish(c, m.conv2d_grad_filter_dense, 0,
                rounded(c.images_block * padded_floats(c), 16) + block * panel * filter_panels +
                    rounded(block * m.tile_height + m.width, 16) + c.images_block * positions * g.k,
                c.partial_each * groups);
}

}  // namespace

void append_contraction_rows(KernelTable& table, const Microkernels& m) {
  const Edges gemm{{m.width, 2 * m.width, m.tile_height, static_cast<std::int32_t>(order::k_chunk), 16,
                    2 * static_cast<std::int32_t>(order::k_chunk)}};
  const Edges conv{
      {m.width, 2 * m.width, m.tile_height, static_cast<std::int32_t>(order::sample_group), 3 * m.width, 4}};
  append<op::MatMul>(table, m, {m.gemm}, bind_matmul, gemm);
  append<op::MatMulGradA>(table, m, {m.gemm}, bind_matmul_grad_a, gemm);
  append<op::MatMulGradB>(table, m, {m.gemm}, bind_matmul_grad_b, gemm, Precision::fp32, Pieces::results);
  // Convolutions work image by image.
  constexpr Pieces samples = Pieces::samples;
  const Precision fp32 = Precision::fp32;
  append<op::Conv2d>(table, m, {m.conv2d_winograd}, bind_conv2d_winograd, conv, Precision::tf32, samples);
  append<op::Conv2d>(table, m, {m.conv2d_direct, m.conv2d_depthwise}, bind_conv2d, conv, fp32, samples);
  append<op::Conv2dGradInput>(table, m, {m.conv2d_grad_input, m.conv2d_grad_input_dense}, bind_conv2d_grad_input, conv,
                              fp32, samples);
  append<op::Conv2dGradFilter>(table, m, {m.conv2d_grad_filter, m.conv2d_grad_filter_dense}, bind_conv2d_grad_filter,
                               conv, fp32, samples);
}

}  // namespace tenon::cpu
