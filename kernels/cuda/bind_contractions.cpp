// Binding of matmul, conv2d and their gradients on the GPU. Part of the library, not of the module: a problem becomes plain
// geometry here, and a step around the module's function. Workspace: the sums of every chunk, where there is more than one.
#include "kernels/bind/product_geometry.hpp"
#include "kernels/bind/support.hpp"
#include "kernels/common/geometry_of.hpp"
#include "kernels/common/order.hpp"
#include "kernels/cuda/contractions.hpp"
#include "kernels/cuda/filter_gradient.hpp"
#include "kernels/cuda/product_plan.hpp"

namespace tenon::cuda {
namespace {

const Contractions& contractions(const Kernel& row) { return *static_cast<const Contractions*>(row.impl); }

/// Numbers of rows and terms are divided as 32-bit integers; a grid has 65535 layers.
struct Extents {
  std::int64_t batches, rows, columns, terms, chunks;
};
template <class Geometry>
Bound bind_contraction(const Kernel& row, RunFn run, const Geometry& g, const Extents& e) {
  constexpr std::int64_t most = (std::int64_t{1} << 31) - 256, most_layers = 65535;  // a tile's end is a number, too
  if (e.rows >= most || e.columns >= most || e.terms >= most)
    return Refusal{"expects less than 2^31 - 256 rows, columns and terms"};
  if (e.batches * e.chunks > most_layers)
    return Refusal{"expects at most 65535 chunks and groups, found " + std::to_string(e.batches * e.chunks)};
  const bool partial = e.chunks > 1 && !contractions(row).naive;
  return make_step(run, g, partial ? static_cast<std::size_t>(e.batches * e.chunks * e.rows * e.columns) * 4 : 0);
}

// --- matmul -------------------------------------------------------------------------------------------------------
Bound bind_product(const Kernel& row, const ProductGeometry& g) {
  const std::int64_t bias = g.bias_grad ? 1 : 0;
  if (!row.canonical && !contractions(row).naive) {
    const Bound bound = bind_contraction(row, contractions(row).product, g, {1, g.m, g.n, g.k, 1});
    if (!std::holds_alternative<Step>(bound)) return bound;
    return make_step(contractions(row).product, g, static_cast<std::size_t>(product_room(g)) * 4);
  }
  return bind_contraction(
      row, contractions(row).product, g,
      {1, g.m + (g.b_in == 0 ? bias : 0), g.n + (g.a_in == 0 ? bias : 0), g.k, order::chunks(g.k, order::k_chunk)});
}
Bound bind_matmul(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  return bind_product(row, bind::matmul_geometry(p));
}
Bound bind_matmul_grad_a(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_product(row, bind::matmul_grad_a_geometry(p));
}
Bound bind_matmul_grad_b(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  return bind_product(row, bind::matmul_grad_b_geometry(p));
}

// --- conv2d -------------------------------------------------------------------------------------------------------
Bound bind_conv2d(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, p.ins)) return *why;
  const ConvGeometry g = conv_geometry(p);
  const std::int64_t terms = std::int64_t{g.kh} * g.kw * (g.c / g.groups);
  return bind_contraction(
      row, contractions(row).conv2d, g,
      {g.groups, g.n * g.ph * g.pw * (g.pool ? 4 : 1), g.k / g.groups, terms, order::chunks(terms, order::k_chunk)});
}
Bound bind_conv2d_grad_input(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  const ConvGeometry g = conv_geometry(p);
  return bind_contraction(row, contractions(row).conv2d_grad_input, g,
                          {g.groups, g.n * g.h * g.w, g.c / g.groups, std::int64_t{g.kh} * g.kw * (g.k / g.groups), 1});
}
Bound bind_conv2d_grad_filter(const Problem& p, const Kernel& row) {
  if (auto why = bind::refuse_unless_f32(p, 2)) return *why;
  const ConvGeometry g = conv_geometry(p);
  const bool few = !row.canonical && takes_few_sums(g);
  const std::int64_t samples = row.canonical ? order::sample_group : chunk_samples(g);
  return bind_contraction(row, contractions(row).conv2d_grad_filter, g,
                          {g.groups, std::int64_t{g.kh} * g.kw * (g.c / g.groups) + (g.bias ? 1 : 0), g.k / g.groups,
                           g.n * g.oh * g.ow, few ? few_cut(g).chunks(g.n) : order::chunks(g.n, samples)});
}

}  // namespace

void append_contraction_rows(KernelTable& table, const Contractions& c) {
  const auto append = [&](op::Kind kind, Bound (*bind)(const Problem&, const Kernel&), Edges edges) {
    table.push_back({kind, c.provider, c.precision == Precision::fp32, c.naive, edges, bind, &c, c.precision});
  };
  const Edges gemm{{16, 32, 64, 128, static_cast<std::int32_t>(order::k_chunk), 4}};
  const Edges conv{{16, 32, 64, static_cast<std::int32_t>(order::sample_group), 4}};
  append(op::kind_of<op::MatMul>, bind_matmul, gemm);
  append(op::kind_of<op::MatMulGradA>, bind_matmul_grad_a, gemm);
  append(op::kind_of<op::MatMulGradB>, bind_matmul_grad_b, gemm);
  append(op::kind_of<op::Conv2d>, bind_conv2d, conv);
  append(op::kind_of<op::Conv2dGradInput>, bind_conv2d_grad_input, conv);
  append(op::kind_of<op::Conv2dGradFilter>, bind_conv2d_grad_filter, conv);
}

}  // namespace tenon::cuda
