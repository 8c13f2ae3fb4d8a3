// Binds pool2d and its gradient.
#include "kernels/bind/support.hpp"
#include "kernels/common/geometry_of.hpp"

namespace tenon::bind {
namespace {

/// A window that lies in the padding altogether has no maximum and no mean.
bool every_window_has_a_tap(const PoolGeometry& g) {
  for (std::int32_t i = 0; i < g.oh; ++i) {
    const TapRange taps = taps_inside(i * g.stride_h - g.pad_top, g.window_h, 1, g.h);
    if (taps.first == taps.last) return false;
  }
  for (std::int32_t i = 0; i < g.ow; ++i) {
    const TapRange taps = taps_inside(i * g.stride_w - g.pad_left, g.window_w, 1, g.w);
    if (taps.first == taps.last) return false;
  }
  return true;
}

Bound bind(const Problem& p, RunFn run) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const PoolGeometry g = pool_geometry(p);
  if (!every_window_has_a_tap(g)) return Refusal{"a window lies in the padding altogether"};
  return make_step(run, g);
}

Bound bind_pool2d(const Problem& p, const Kernel& row) {
  const bool max = p.as<op::Pool2d>().fn == op::PoolFn::max;
  return bind(p, max ? loops(row).max_pool2d : loops(row).avg_pool2d);
}

Bound bind_pool2d_grad(const Problem& p, const Kernel& row) {
  const bool max = p.as<op::Pool2dGrad>().forward.fn == op::PoolFn::max;
  if (max && p.in[1].dtype != DType::i32) return refuse_dtype("i32", 1, p.in[1].dtype);
  return bind(p, max ? loops(row).max_pool2d_grad : loops(row).avg_pool2d_grad);
}

}  // namespace

void append_pool_rows(KernelTable& table, const Loops& m) {
  const Edges edges{{m.width, 4096, 1024}};
  append<op::Pool2d>(table, m, {m.max_pool2d, m.avg_pool2d}, bind_pool2d, edges);
  append<op::Pool2dGrad>(table, m, {m.max_pool2d_grad, m.avg_pool2d_grad}, bind_pool2d_grad, edges);
}

}  // namespace tenon::bind
