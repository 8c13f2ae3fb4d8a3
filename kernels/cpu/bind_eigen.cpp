// Binds the provider `cpu.eigen`: its contractions take f32 and no epilogue; everything else is bound like the micro
// kernels. Sums are in Eigen's order, so no row is canonical. Eigen allocates inside large products, so this provider
// alone is exempt from the promise that a run allocates nothing.
#include <algorithm>

#include "kernels/bind/product_geometry.hpp"
#include "kernels/bind/support.hpp"
#include "kernels/common/geometry_of.hpp"
#include "kernels/cpu/eigen_kernels.hpp"

namespace tenon::cpu {
namespace {

const EigenKernels& eigen(const Kernel& row) { return *static_cast<const EigenKernels*>(row.impl); }

template <class Geometry>
Bound bind_f32(const Problem& p, RunFn run, const Geometry& g, std::int64_t workspace_floats = 0) {
  if (auto refusal = bind::refuse_unless_f32(p, 2)) return *refusal;
  return make_step(run, g, static_cast<std::size_t>(workspace_floats) * 4);
}
Refusal refuse_epilogue() { return {"takes no epilogue, found one"}; }

Bound bind_matmul(const Problem& p, const Kernel& row) {
  const auto& m = p.as<op::MatMul>();
  if (m.epilogue.any()) return refuse_epilogue();
  const Shape& y = p.out[0].shape;
  return bind_f32(p, eigen(row).product,
                  EigenProduct{y[0], y[1], p.in[0].shape[m.transpose_a ? 0 : 1], 0, 1, m.transpose_a, m.transpose_b});
}
/// gy b^T, or its transpose where a was transposed.
Bound bind_matmul_grad_a(const Problem& p, const Kernel& row) {
  const auto& m = p.as<op::MatMulGradA>().forward;
  if (m.epilogue.any()) return refuse_epilogue();
  const Shape& ga = p.out[0].shape;
  const std::int64_t depth = p.in[0].shape[1];
  const EigenProduct plain{ga[0], ga[1], depth, 0, 1, false, !m.transpose_b};
  const EigenProduct turned{ga[0], ga[1], depth, 1, 0, m.transpose_b, true};
  return bind_f32(p, eigen(row).product, m.transpose_a ? turned : plain);
}
/// a^T gy, or its transpose where b was transposed.
Bound bind_matmul_grad_b(const Problem& p, const Kernel& row) {
  const auto& m = p.as<op::MatMulGradB>().forward;
  if (m.epilogue.any()) return refuse_epilogue();
  const Shape& gb = p.out[0].shape;
  const std::int64_t depth = p.in[0].shape[0];
  const EigenProduct plain{gb[0], gb[1], depth, 1, 0, !m.transpose_a, false};
  const EigenProduct turned{gb[0], gb[1], depth, 0, 1, true, m.transpose_a};
  return bind_f32(p, eigen(row).product, m.transpose_b ? turned : plain);
}

/// The taps of a tile take about 256 KiB, but at least 64 positions; all threads' tiles together at most 64 MiB, and so
/// do all partial filter gradients.
EigenConv conv_plan(const Problem& p) {
  constexpr std::int64_t tile_floats = 65536, most_floats = 16 << 20, most_teams = 64;
  EigenConv e{conv_geometry(p), 0, 0, 1, 1, false};
  const ConvGeometry& g = e.conv;
  e.depth = std::int64_t{g.kh} * g.kw * (g.c / g.groups);
  e.tile = std::clamp<std::int64_t>(tile_floats / std::max<std::int64_t>(e.depth, 1) / 16 * 16, 64, 2048);
  const std::int64_t tiles = (g.n * g.oh * g.ow + e.tile - 1) / e.tile;
  const auto limited = [&](std::int64_t floats) {
    return static_cast<std::int32_t>(
        std::clamp<std::int64_t>(most_floats / std::max<std::int64_t>(floats, 1), 1, most_teams));
  };
  e.teams = limited(e.tile * e.depth);
  e.parts = static_cast<std::int32_t>(std::clamp<std::int64_t>(tiles, 1, limited(e.depth * g.k)));
  const bool whole = g.oh == g.h && g.ow == g.w && g.pad_top == 0 && g.pad_left == 0;
  e.direct = g.kh == 1 && g.kw == 1 && g.stride_h == 1 && g.stride_w == 1 && whole;
  return e;
}
Bound bind_conv(const Problem& p, const op::Conv2d& forward, RunFn run, bool sums) {
  if (forward.epilogue.any()) return refuse_epilogue();
  const EigenConv e = conv_plan(p);
  const std::int64_t taps = e.direct ? 0 : e.teams * e.tile * e.depth;
  return bind_f32(p, run, e, taps + (sums && e.parts > 1 ? e.parts * e.depth * e.conv.k : 0));
}
Bound bind_conv2d(const Problem& p, const Kernel& row) {
  return bind_conv(p, p.as<op::Conv2d>(), eigen(row).conv2d, false);
}
Bound bind_conv2d_grad_input(const Problem& p, const Kernel& row) {
  return bind_conv(p, p.as<op::Conv2dGradInput>().forward, eigen(row).conv2d_grad_input, false);
}
Bound bind_conv2d_grad_filter(const Problem& p, const Kernel& row) {
  return bind_conv(p, p.as<op::Conv2dGradFilter>().forward, eigen(row).conv2d_grad_filter, true);
}

template <class Op>
Kernel eigen_row(const EigenKernels& kernels, Bound (*bind)(const Problem&, const Kernel&)) {
  return {op::kind_of<Op>, kernels.others.provider, false, false, {{kernels.others.width, 64, 2048}}, bind, &kernels};
}

}  // namespace

void append_eigen_rows(KernelTable& table, const EigenKernels& k) {
  table.push_back(eigen_row<op::Conv2d>(k, bind_conv2d));
  table.push_back(eigen_row<op::Conv2dGradInput>(k, bind_conv2d_grad_input));
  table.push_back(eigen_row<op::Conv2dGradFilter>(k, bind_conv2d_grad_filter));
  table.push_back(eigen_row<op::MatMul>(k, bind_matmul));
  table.push_back(eigen_row<op::MatMulGradA>(k, bind_matmul_grad_a));
  table.push_back(eigen_row<op::MatMulGradB>(k, bind_matmul_grad_b));
  bind::append_rows(table, k.others);
}

}  // namespace tenon::cpu
