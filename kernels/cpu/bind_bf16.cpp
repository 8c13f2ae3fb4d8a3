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

/// Rows of the class tf32 multiply both halves of every number.
bool split(const Kernel& row) { return row.precision == Precision::tf32; }
std::int64_t parts(const Kernel& row) { return split(row) ? 2 : 1; }
const TileLoops& loops(const Kernel& row) {
  const auto& k = *static_cast<const Bf16Kernels*>(row.impl);
  return split(row) ? k.split : k.rounded;
}
/// Floats that hold so many bf16s.
std::int64_t floats_of(std::int64_t bf16s) { return (bf16s + 1) / 2; }

// --- matmul -------------------------------------------------------------------------------------------------------

Bound bind_gemm(const ProductGeometry& product, const Problem& p, const Kernel& row) {
  GemmGeometry g{product};
  // Packing an element costs as much as a few FMAs: it has to be multiplied more often than that.
  if (g.m < 4 || g.n < 4 || g.k < 4) return Refusal{"expects 4 rows, columns and terms or more"};
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk), depth = order::tree_depth(chunks),
                     terms = rounded(std::min(g.k, order::k_chunk), terms_step) * parts(row), slot = block * block,
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
  return make_step(loops(row).gemm, g, w.bytes());
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
/// Whether rows of the filter are taps: colour images, where channels alone fill a fraction of a tile.
bool has_rows_as_terms(const ConvGeometry& g) {
  return g.c > 2 && g.c < tile && g.c * g.kw <= 2 * terms_step && g.dilation_w == 1 && g.groups == 1 && g.k >= tile;
}
/// Sparse gradients in fp32 take less time than dense ones of bf16: a window of four has one live term at most.
std::optional<Refusal> refuse_pool(const ConvGeometry& g) {
  if (g.pool)
    return Refusal{"expects no pool: behind one, most terms are dead and only the live ones are worth a product"};
  return std::nullopt;
}

/// Bf16s of an operand that stays in L2 while the other passes.
constexpr std::int64_t resident = 400 * 1024;
/// Floats of a result that no cache will hold until somebody reads it, 16 MiB.
constexpr std::int64_t past_caches = 4 * 1024 * 1024;

Bound bind_product(const Conv2dPlan& conv, std::int64_t n, std::int64_t k, std::int64_t line, RunFn run,
                   const Kernel& row) {
  Bf16Conv1x1 c{};
  c.conv = conv;
  TileProduct& t = c.product;
  t.m = std::int64_t{conv.g.n} * conv.g.oh * conv.g.ow;
  t.n = n;
  t.k = k;
  const std::int64_t each = block * parts(row) * rounded(k, terms_step), blocks = rounded(t.m, block) / block,
                     panels = rounded(n, block) / block;
  t.by_panels = conv.threads == 1 ? blocks < panels : blocks * each <= 2 * resident && blocks < panels && panels > 1;
  // Rows are packed some time before they are multiplied: a tile cannot take what is still on its way to the cache.
  t.panels_first = panels * each <= 2 * resident;
  t.blocks_each = std::clamp<std::int64_t>((t.panels_first ? resident / 4 : resident) / each, 1,
                                           std::clamp<std::int64_t>(blocks / (4 * conv.threads), 1, 8));
  t.past_caches = t.m * n >= past_caches && n % tile == 0 && !conv.g.mask;
  Workspace own, w;
  (void)own.take(floats_of(each * (t.by_panels ? 1 : t.blocks_each)));
  t.sums_at = own.take(block * block);
  c.line_at = own.take(line);
  t.own_each = own.floats();
  t.shared_at = w.take(floats_of(each * (t.by_panels ? blocks : panels)));
  t.claims_at = w.take(2);
  t.own_at = w.take(t.own_each * conv.threads);
  return make_step(run, c, w.bytes());
}
/// Whether a convolution is a product: every pixel that is read is read once.
bool is_product(const Conv2dPlan& c) {
  return c.g.kh == 1 && c.g.kw == 1 && !c.padded && !c.g.pool && c.g.pad_top == 0 && c.g.pad_left == 0;
}

/// Rows that are worked on together: about 256 positions, and blocks of an image alike.
std::int64_t rows_block(std::int64_t rows, std::int64_t positions_each) {
  const std::int64_t most = std::clamp<std::int64_t>(256 / positions_each, 1, rows), blocks = (rows + most - 1) / most;
  return (rows + blocks - 1) / blocks;
}

Bf16Conv phases_of(const Problem& p) {
  Bf16Conv c{};
  c.conv = conv_plan(p, block);
  const ConvGeometry& g = c.conv.g;
  c.lines = (c.conv.padded_h + g.stride_h - 1) / g.stride_h;
  c.line = (c.conv.padded_w + g.stride_w - 1) / g.stride_w;
  return c;
}

/// A result of `rows` rows of `pixels` pixels an image, `outputs` each: how it is shared out, and the workspace, where `line`
/// floats hold a line of an image and `positions` the sums of a block.
Bound bind_images(Bf16Conv& c, std::int64_t rows, std::int64_t pixels, std::int64_t outputs, std::int64_t line,
                  std::int64_t positions, RunFn run, const Kernel& row) {
  const ConvGeometry& g = c.conv.g;
  const std::int64_t threads = c.conv.threads, taps = std::int64_t{g.kh} * (c.rows_as_terms ? 1 : g.kw);
  c.taps = taps;
  c.panels = rounded(outputs, block) / block;
  c.panel = taps * c.depth * block * parts(row);
  const std::int64_t blocks = g.n * (rounded(rows, c.rows_block) / c.rows_block), images = g.n * c.image,
                     filters = c.panels * c.panel;
  // Dropout passes over whole units, so that it needs all panels of a unit on one thread.
  c.by_panels = threads > 1 && c.panels >= threads && !g.mask && images <= 2 * resident &&
                (blocks < 4 * threads || filters > resident);
  c.images_each =
      filters <= 2 * resident ? 1 : std::clamp<std::int64_t>(resident / c.image, 1, (g.n + threads - 1) / threads);
  c.past_caches = g.n * rows * pixels * outputs >= past_caches && outputs % tile == 0 && !g.mask && !g.pool;
  Workspace scratch, w;
  c.image_at = scratch.take(c.by_panels ? 0 : floats_of(c.images_each * c.image));
  c.filters_at = scratch.take(c.by_panels ? floats_of(c.panel) : 0);
  c.line_at = scratch.take(line);
  c.sums_at = scratch.take(rounded(positions, block) * block);
  c.taps_at = scratch.take(2 * taps);
  c.conv.filter_at = w.take(floats_of(c.by_panels ? images : filters));
  c.claims_at = w.take(2);
  c.conv.scratch_each = scratch.floats();
  c.conv.scratch_at = w.take(c.conv.scratch_each * threads);
  return make_step(run, c, w.bytes());
}

Bound bind_conv2d(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  Bf16Conv c = phases_of(p);
  const ConvGeometry& g = c.conv.g;
  c.rows_as_terms = has_rows_as_terms(g);
  if (auto why = refuse_conv(g); why && !c.rows_as_terms) return *why;
  if (is_product(c.conv) && !c.rows_as_terms) return bind_product(c.conv, g.k, g.c, 0, loops(row).conv2d_1x1, row);
  if (c.rows_as_terms && split(row) && g.kh * g.kw * g.c < 2 * terms_step)
    return Refusal{"expects 64 terms or more where channels are few"};
  if (split(row) && g.kh == 3 && g.kw == 3 && g.stride_h == 1 && g.stride_w == 1 && g.c * g.k <= 128 * 128)
    return Refusal{"expects more channels or filters: with so few, Winograd's form has less to multiply"};
  const std::int64_t rows = g.pool ? 2 : 1;
  if (c.rows_as_terms) {
    c.depth = rounded(std::int64_t{g.kw} * g.c, terms_step);
    c.step = std::int64_t{g.stride_w} * g.c;
    // As far as the terms of the last tile's last position reach.
    c.row = rounded(std::max((rounded(g.ow, tile) - 1) * c.step + c.depth, std::int64_t{c.conv.padded_w} * g.c),
                    terms_step);
    c.lower = c.conv.padded_h * c.row;
    c.pitch = rounded(g.ow, block);
  } else {
    c.depth = c.step = rounded(g.c, terms_step);
    c.row = c.line * c.step;
    // The last tile reads 15 positions more than there are.
    c.lower = (std::int64_t{g.stride_h} * g.stride_w * c.lines * c.line + tile) * c.step;
    c.pitch = c.line;
  }
  c.image = c.lower * parts(row);
  c.rows_block = rows_block(g.ph, rows * c.pitch);
  return bind_images(c, g.ph, g.pw, g.k, c.rows_as_terms ? c.row : 0, c.rows_block * rows * c.pitch, loops(row).conv2d,
                     row);
}

Bound bind_conv2d_grad_input(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Bf16Conv c{};
  c.conv = conv_plan(p, block);
  const ConvGeometry& g = c.conv.g;
  if (auto why = refuse_conv(g)) return *why;
  if (auto why = refuse_pool(g)) return *why;
  if (is_product(c.conv)) return bind_product(c.conv, g.c, g.k, g.k, loops(row).conv2d_grad_input_1x1, row);
  c.conv.dz = dz_frame(g);
  c.line = c.pitch = c.conv.dz.w;
  c.lines = c.conv.dz.h;
  c.depth = c.step = rounded(g.k, terms_step);
  c.row = c.line * c.step;
  c.lower = (c.lines * c.line + tile) * c.step;
  c.image = c.lower * parts(row);
  // Rows of a class lie `stride_h` apart.
  const std::int64_t each = (c.line + g.stride_h - 1) / g.stride_h;
  c.rows_block = rows_block(g.h, each);
  return bind_images(c, g.h, g.w, g.c, std::int64_t{g.ow} * g.k, (c.rows_block + g.stride_h - 1) / g.stride_h * c.line,
                     loops(row).conv2d_grad_input, row);
}

Bound bind_conv2d_grad_filter(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  Bf16GradFilter c{};
  c.conv = conv_plan(p, block);
  const ConvGeometry& g = c.conv.g;
  c.rows_as_terms = has_rows_as_terms(g) && g.kw * g.c <= block && !split(row);
  if (auto why = refuse_conv(g); why && !c.rows_as_terms) return *why;
  if (auto why = refuse_pool(g)) return *why;
  if (std::int64_t{g.h} * g.w * g.c >= std::int64_t{1} << 31) return Refusal{"images of 2^31 elements and more"};
  const std::int64_t phases = std::int64_t{g.stride_h} * g.stride_w,
                     taps = std::int64_t{g.kh} * (c.rows_as_terms ? 1 : g.kw), positions = std::int64_t{g.oh} * g.ow,
                     group = std::min<std::int64_t>(g.n, order::sample_group);
  c.lines = (c.conv.padded_h + g.stride_h - 1) / g.stride_h;
  c.line = (c.conv.padded_w + g.stride_w - 1) / g.stride_w;
  c.taps = taps;
  c.terms = std::int64_t{g.c} * (c.rows_as_terms ? g.kw : 1);
  c.channels = rounded(c.terms, tile);
  std::int64_t steps = 0, piece = 0;  // of an image; positions of dz, as they are
  if (is_product(c.conv) || c.rows_as_terms) {
    // Enough positions to pay for the way of the sums to memory and back.
    const std::int64_t most = std::clamp<std::int64_t>(2 * resident / (taps * c.channels * parts(row)), 128, 1024);
    c.run = std::min(rounded(positions * (c.rows_as_terms ? 1 : group), terms_step), most / terms_step * terms_step);
    c.images_each = 1;
    steps = c.run / terms_step;
    piece = c.run;
    c.row = terms_step;
    c.step = tile * terms_step;
    c.below = steps * c.step;
    c.lower = taps * (c.channels / tile) * c.below;
  } else {
    steps = rounded((std::int64_t{g.oh} - 1) * c.line + g.ow, terms_step) / terms_step;
    // As far as the last tap's last 32 positions reach.
    const std::int64_t last = (g.kh - 1) * g.dilation_h / g.stride_h * c.line + (g.kw - 1) * g.dilation_w / g.stride_w;
    c.span = rounded(std::max(last + steps * terms_step, c.lines * c.line), terms_step);
    // Sums that do not stay in L2 want many positions each time, others leave it to the images.
    const std::int64_t room = taps * c.channels * g.k > resident / 2 ? 2 * resident : resident / 2;
    c.images_each = std::clamp<std::int64_t>(room / (phases * c.channels * c.span * parts(row)), 1, group);
    piece = c.images_each * positions;
    c.row = c.images_each * c.span;
    if (c.row % (2 * terms_step) == 0) c.row += terms_step;
    c.step = terms_step;
    c.below = tile * c.row;
    c.lower = phases * c.channels * c.row;
  }
  const std::int64_t panel = c.images_each * steps * terms_step * block * parts(row);
  c.panels_each = std::clamp<std::int64_t>(resident / panel, 1, c.conv.panels);
  Workspace scratch, w;
  c.turned_at = scratch.take(floats_of(c.lower * parts(row)));
  c.pairs_at = scratch.take(floats_of(c.panels_each * panel));
  c.line_at = scratch.take(piece * g.k);
  c.frame_at =
      scratch.take(c.rows_as_terms && c.conv.padded ? std::int64_t{c.conv.padded_h} * c.conv.padded_w * g.c : 0);
  c.images_at = scratch.take(2 * c.images_each);
  c.pixels_at = scratch.take(phases * c.span);
  c.conv.scratch_each = scratch.floats();
  c.conv.scratch_at = w.take(c.conv.scratch_each * c.conv.threads);
  const std::int64_t sums = c.conv.panels * taps * (rounded(c.terms, block) / block) * block * block;
  c.conv.partial_each = rounded(sums + (g.bias ? g.k : 0), 16);
  c.conv.partial_at = w.take(c.conv.partial_each * order::chunks(g.n, order::sample_group));
  return make_step(loops(row).conv2d_grad_filter, c, w.bytes());
}

template <class Op>
void append(KernelTable& table, const Bf16Kernels& k, Bound (*bind)(const Problem&, const Kernel&), Edges edges,
            Pieces pieces, Precision precision = Precision::bf16) {
  table.push_back({op::kind_of<Op>, k.provider, false, false, edges, bind, &k, precision, pieces});
}

}  // namespace

void append_bf16_rows(KernelTable& table, const Bf16Kernels& k) {
  constexpr auto chunk = static_cast<std::int32_t>(order::k_chunk);
  const Edges gemm{{16, 32, 64, chunk / 2, chunk, 2 * chunk}};
  append<op::MatMul>(table, k, bind_matmul, gemm, Pieces::none);
  append<op::MatMulGradA>(table, k, bind_matmul_grad_a, gemm, Pieces::none);
  append<op::MatMulGradB>(table, k, bind_matmul_grad_b, gemm, Pieces::results);
  const Edges conv{{16, 32, 64, static_cast<std::int32_t>(order::sample_group), 4, 128}};
  append<op::Conv2d>(table, k, bind_conv2d, conv, Pieces::samples);
  append<op::Conv2dGradInput>(table, k, bind_conv2d_grad_input, conv, Pieces::samples);
  append<op::Conv2dGradFilter>(table, k, bind_conv2d_grad_filter, conv, Pieces::samples);

  const Precision tf32 = Precision::tf32;
  append<op::MatMul>(table, k, bind_matmul, gemm, Pieces::none, tf32);
  append<op::MatMulGradA>(table, k, bind_matmul_grad_a, gemm, Pieces::none, tf32);
  append<op::MatMulGradB>(table, k, bind_matmul_grad_b, gemm, Pieces::results, tf32);
  append<op::Conv2d>(table, k, bind_conv2d, conv, Pieces::samples, tf32);
  append<op::Conv2dGradInput>(table, k, bind_conv2d_grad_input, conv, Pieces::samples, tf32);
  append<op::Conv2dGradFilter>(table, k, bind_conv2d_grad_filter, conv, Pieces::samples, tf32);
}

}  // namespace tenon::cpu
