// Binding of the loops that multiply operands rounded to bf16: products, convolutions of 16 channels and filters or
// more, and their gradients where every term is alive. What is refused here runs on the rows of the classes before bf16.
// Products of the class tf32 multiply both halves of every number on the same tiles.
#include <algorithm>

#include "kernels/bind/product_geometry.hpp"
#include "kernels/bind/support.hpp"
#include "kernels/common/order.hpp"
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/contraction_geometry.hpp"

namespace tenon::cpu {
namespace {

/// A tile: 16 rows, 32 terms of bf16; blocks of two by two of them.
constexpr std::int64_t tile = 16, terms_step = 32, block = 32;

const Bf16Kernels& kernels(const Kernel& row) { return *static_cast<const Bf16Kernels*>(row.impl); }
/// Floats that hold so many bf16s.
std::int64_t floats_of(std::int64_t bf16s) { return (bf16s + 1) / 2; }

// --- matmul -------------------------------------------------------------------------------------------------------

Bound bind_gemm(const ProductGeometry& product, const Problem& p, const Kernel& row) {
  const bool split = row.precision == Precision::tf32;
  GemmGeometry g{product};
  // Packing an element costs as much as a few FMAs: it has to be multiplied more often than that.
  if (g.m < 4 || g.n < 4 || g.k < 4) return Refusal{"expects 4 rows, columns and terms or more"};
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk), depth = order::tree_depth(chunks),
                     terms = rounded(std::min(g.k, order::k_chunk), terms_step) * (split ? 2 : 1), slot = block * block,
                     rows = rounded(g.m, block) / block;
  g.threads = p.threads;
  g.by_chunks = chunks > 1 && g.m * g.n <= 65536;
  // A block of a and a block of b fit in L2 together, 256 and 512 KiB; so do, more or less, the sums that wait.
  g.tile_block = std::clamp<std::int64_t>(131072 / (terms * block), 1, rows);
  g.column_block = std::clamp(262144 / terms / block * block, block, rounded(g.n, block));
  g.row_block = chunks == 1 ? g.m : std::min<std::int64_t>(g.m, 16 * block);
  const std::int64_t across = g.column_block / block;

  Workspace own;
  (void)own.take(floats_of(g.tile_block * block * terms));
  g.b_at = own.take(floats_of(terms * g.column_block));
  if (chunks == 1) g.stack_at = own.take(g.tile_block * across * slot);
  if (chunks > 1 && !g.by_chunks) g.stack_at = own.take(rounded(g.row_block, block) / block * across * slot * depth);
  g.own_each = own.floats();
  Workspace w;
  if (g.prologue.any) g.dz_at = w.take(g.dz_rows * g.dz_cols);
  if (g.bias_grad) g.sums_at = w.take(g.dz_cols * order::tree_depth(order::chunks(g.dz_rows, order::k_chunk)));
  if (g.by_chunks) g.slots_at = w.take(chunks * rows * (rounded(g.n, block) / block) * slot);
  g.own_at = w.take(g.own_each * g.threads);
  return make_step(split ? kernels(row).split_gemm : kernels(row).gemm, g, w.bytes());
}

Bound bind_matmul(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  return bind_gemm(bind::matmul_geometry(p), p, row);
}
Bound bind_matmul_grad_a(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_gemm(bind::matmul_grad_a_geometry(p), p, row);
}
Bound bind_matmul_grad_b(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_gemm(bind::matmul_grad_b_geometry(p), p, row);
}

// --- conv2d -------------------------------------------------------------------------------------------------------

/// What all three refuse.
std::optional<Refusal> refuse_conv(const ConvGeometry& g) {
  if (g.groups != 1) return Refusal{"expects one group, found " + std::to_string(g.groups)};
  // A tile has 32 terms and 16 columns: fewer leave too much of it empty.
  if (g.c < tile || g.k < tile) return Refusal{"expects 16 channels and 16 filters or more"};
  return std::nullopt;
}
/// Sparse gradients in fp32 take less time than dense ones of bf16: a window of four has one live term at most.
std::optional<Refusal> refuse_pool(const ConvGeometry& g) {
  if (g.pool)
    return Refusal{"expects no pool: behind one, most terms are dead and only the live ones are worth a product"};
  return std::nullopt;
}

/// Rows that are worked on together: about 256 positions, and blocks of an image alike.
std::int64_t rows_block(std::int64_t rows, std::int64_t positions_each) {
  const std::int64_t most = std::clamp<std::int64_t>(256 / positions_each, 1, rows), blocks = (rows + most - 1) / most;
  return (rows + blocks - 1) / blocks;
}

Bound finish(Bf16Conv& c, RunFn run, std::int64_t filter, const Workspace& scratch, std::int64_t partials) {
  Workspace w;
  c.conv.filter_at = w.take(floats_of(filter));
  c.conv.scratch_each = scratch.floats();
  c.conv.scratch_at = w.take(c.conv.scratch_each * c.conv.threads);
  c.conv.partial_at = w.take(partials);
  return make_step(run, c, w.bytes());
}

Bf16Conv phases_of(const Problem& p) {
  Bf16Conv c{};
  c.conv = conv_plan(p, block);
  const ConvGeometry& g = c.conv.g;
  c.lines = (c.conv.padded_h + g.stride_h - 1) / g.stride_h;
  c.line = (c.conv.padded_w + g.stride_w - 1) / g.stride_w;
  c.depth = rounded(g.c, terms_step);
  return c;
}

Bound bind_conv2d(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  Bf16Conv c = phases_of(p);
  const ConvGeometry& g = c.conv.g;
  if (auto why = refuse_conv(g)) return *why;
  const std::int64_t rows = g.pool ? 2 : 1;
  c.rows_block = rows_block(g.ph, rows * c.line);
  // The last tile reads 15 positions more than there are.
  c.image = (std::int64_t{g.stride_h} * g.stride_w * c.lines * c.line + tile) * c.depth;
  Workspace scratch;
  c.image_at = scratch.take(floats_of(c.image));
  c.sums_at = scratch.take(rounded(c.rows_block * rows * c.line, tile) * block);
  c.taps_at = scratch.take(2 * std::int64_t{g.kh} * g.kw);
  return finish(c, kernels(row).conv2d, std::int64_t{g.kh} * g.kw * c.depth * c.conv.panels * block, scratch, 0);
}

Bound bind_conv2d_grad_input(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Bf16Conv c{};
  c.conv = conv_plan(p, block);
  const ConvGeometry& g = c.conv.g;
  if (auto why = refuse_conv(g)) return *why;
  if (auto why = refuse_pool(g)) return *why;
  c.conv.dz = dz_frame(g);
  c.line = c.conv.dz.w;
  c.lines = c.conv.dz.h;
  c.depth = rounded(g.k, terms_step);
  c.image = (c.lines * c.line + tile) * c.depth;
  // Rows of a class lie `stride_h` apart.
  c.rows_block = rows_block(g.h, (c.line + g.stride_h - 1) / g.stride_h);
  Workspace scratch;
  c.image_at = scratch.take(floats_of(c.image));
  c.line_at = scratch.take(std::int64_t{g.ow} * g.k);
  c.sums_at = scratch.take(rounded((c.rows_block + g.stride_h - 1) / g.stride_h * c.line, tile) * block);
  c.taps_at = scratch.take(2 * std::int64_t{g.kh} * g.kw);
  return finish(c, kernels(row).conv2d_grad_input, std::int64_t{g.kh} * g.kw * c.depth * rounded(g.c, block), scratch,
                0);
}

Bound bind_conv2d_grad_filter(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Bf16Conv c = phases_of(p);
  const ConvGeometry& g = c.conv.g;
  if (auto why = refuse_conv(g)) return *why;
  if (auto why = refuse_pool(g)) return *why;
  if (std::int64_t{g.h} * g.w * g.c >= std::int64_t{1} << 31) return Refusal{"images of 2^31 elements and more"};
  const std::int64_t steps = rounded((std::int64_t{g.oh} - 1) * c.line + g.ow, terms_step) / terms_step;
  // As far as the last tap's last 32 positions reach.
  const std::int64_t last = (g.kh - 1) * g.dilation_h / g.stride_h * c.line + (g.kw - 1) * g.dilation_w / g.stride_w;
  c.span = rounded(std::max(last + steps * terms_step, c.lines * c.line), terms_step);
  if (c.span % (2 * terms_step) == 0) c.span += terms_step;
  c.channels = rounded(g.c, tile);
  const std::int64_t phases = std::int64_t{g.stride_h} * g.stride_w, taps = std::int64_t{g.kh} * g.kw;
  Workspace scratch;
  c.image_at = scratch.take(floats_of(phases * c.channels * c.span));
  c.line_at = scratch.take(std::int64_t{g.oh} * g.ow * g.k);
  c.sums_at = scratch.take(floats_of(c.conv.panels * block * steps * terms_step));
  c.taps_at = scratch.take(phases * c.span);
  const std::int64_t sums = c.conv.panels * taps * (rounded(g.c, block) / block) * block * block;
  c.conv.partial_each = rounded(sums + (g.bias ? g.k : 0), 16);
  return finish(c, kernels(row).conv2d_grad_filter, 0, scratch,
                c.conv.partial_each * order::chunks(g.n, order::sample_group));
}

template <class Op>
void append(KernelTable& table, const Bf16Kernels& k, Bound (*bind)(const Problem&, const Kernel&), Edges edges,
            bool strips, Precision precision = Precision::bf16) {
  table.push_back({op::kind_of<Op>, k.provider, false, false, edges, bind, &k, precision, strips});
}

}  // namespace

void append_bf16_rows(KernelTable& table, const Bf16Kernels& k) {
  constexpr auto chunk = static_cast<std::int32_t>(order::k_chunk);
  const Edges gemm{{16, 32, 64, chunk / 2, chunk, 2 * chunk}};
  append<op::MatMul>(table, k, bind_matmul, gemm, false);
  append<op::MatMulGradA>(table, k, bind_matmul_grad_a, gemm, false);
  append<op::MatMulGradB>(table, k, bind_matmul_grad_b, gemm, false);
  const Edges conv{{16, 32, 64, static_cast<std::int32_t>(order::sample_group), 4, 128}};
  append<op::Conv2d>(table, k, bind_conv2d, conv, true);
  append<op::Conv2dGradInput>(table, k, bind_conv2d_grad_input, conv, true);
  append<op::Conv2dGradFilter>(table, k, bind_conv2d_grad_filter, conv, true);

  const Precision tf32 = Precision::tf32;
  append<op::MatMul>(table, k, bind_matmul, gemm, false, tf32);
  append<op::MatMulGradA>(table, k, bind_matmul_grad_a, gemm, false, tf32);
  append<op::MatMulGradB>(table, k, bind_matmul_grad_b, gemm, false, tf32);
}

}  // namespace tenon::cpu
