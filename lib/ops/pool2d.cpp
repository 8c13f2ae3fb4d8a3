// Max and average pooling of x (n,h,w,c). Max saves the offset of each window's winner.
#include "lib/ops/check.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {
namespace {

Shape pooled(const Pool2d& p, const Shape& x) {
  if (p.window.h < 1 || p.window.w < 1 || p.stride.h < 1 || p.stride.w < 1)
    reject(Pool2d::name, "window and stride are 1 or more, found ({},{}) and ({},{})", p.window.h, p.window.w,
           p.stride.h, p.stride.w);
  // A window that saw padding only would have no value.
  if (p.pad.top >= p.window.h || p.pad.bottom >= p.window.h || p.pad.left >= p.window.w || p.pad.right >= p.window.w ||
      p.pad.top < 0 || p.pad.bottom < 0 || p.pad.left < 0 || p.pad.right < 0)
    reject(Pool2d::name, "padding is less than the window ({},{}), found ({},{},{},{})", p.window.h, p.window.w,
           p.pad.top, p.pad.bottom, p.pad.left, p.pad.right);
  const std::int64_t h = x[1] + p.pad.top + p.pad.bottom - p.window.h;
  const std::int64_t w = x[2] + p.pad.left + p.pad.right - p.window.w;
  if (h < 0 || w < 0)
    reject(Pool2d::name, "window ({},{}) does not fit into input {}", p.window.h, p.window.w, x.str());
  return {x[0], h / p.stride.h + 1, w / p.stride.w + 1, x[3]};
}

}  // namespace

SpecList infer(const Pool2d& p, Specs in) {
  require_operands(Pool2d::name, in, 1);
  require_rank(Pool2d::name, "input (n,h,w,c)", in[0], 4);
  require_float(Pool2d::name, "input", in[0]);
  const Shape y = pooled(p, in[0].shape);
  if (p.fn == PoolFn::avg) return {{in[0].dtype, y}};
  return {{in[0].dtype, y}, {DType::i32, y}};
}

void vjp(const Pool2d& p, Vjp& v) {
  const Shape x = v.spec(v.input(0)).shape;
  std::vector<ValueId> in{v.grad()};
  if (p.fn == PoolFn::max) in.push_back(v.output(1));
  v.accumulate(0, v.emit(Pool2dGrad{p, static_cast<std::int32_t>(x[1]), static_cast<std::int32_t>(x[2])}, in));
}

Cost cost(const Pool2d& p, Specs in, Specs out) {
  return per_element(static_cast<double>(p.window.h) * p.window.w, in, out);
}

SpecList infer(const Pool2dGrad& g, Specs in) {
  require_operands(Pool2dGrad::name, in, g.forward.fn == PoolFn::max ? 2 : 1);
  require_rank(Pool2dGrad::name, "gradient (n,oh,ow,c)", in[0], 4);
  const Shape x{in[0].shape[0], g.h, g.w, in[0].shape[3]};
  require_same(Pool2dGrad::name, "gradient", in[0], {in[0].dtype, pooled(g.forward, x)});
  return {{in[0].dtype, x}};
}
Cost cost(const Pool2dGrad&, Specs in, Specs out) { return per_element(1, in, out); }

}  // namespace tenon::op

namespace tenon {

op::Pad resolve_padding(const Padding& p, Hw in, Hw taps, Hw stride, Hw dilation);

namespace {
Tensor pool2d(Tensor x, Pool2dOptions o, op::PoolFn fn) {
  Graph& g = x.graph();
  require_rank(op::Pool2d::name, "input (n,h,w,c)", g.spec(x.id()), 4);
  const Hw stride{o.stride.h == 0 ? o.window.h : o.stride.h, o.stride.w == 0 ? o.window.w : o.stride.w};
  const Hw in{static_cast<std::int32_t>(x.shape()[1]), static_cast<std::int32_t>(x.shape()[2])};
  return {&g, g.append1(op::Pool2d{fn, o.window, stride, resolve_padding(o.padding, in, o.window, stride, {1, 1})},
                        {x.id()})};
}
Pool2dOptions global_window(Tensor x) {
  if (x.shape().rank() != 4) reject(op::Pool2d::name, "input (n,h,w,c) expects rank 4, found {}", x.shape().str());
  return {.window = {static_cast<std::int32_t>(x.shape()[1]), static_cast<std::int32_t>(x.shape()[2])}};
}
}  // namespace

Tensor max_pool2d(Tensor x, Pool2dOptions o) { return pool2d(x, o, op::PoolFn::max); }
Tensor avg_pool2d(Tensor x, Pool2dOptions o) { return pool2d(x, o, op::PoolFn::avg); }
Tensor global_max_pool2d(Tensor x) { return pool2d(x, global_window(x), op::PoolFn::max); }
Tensor global_avg_pool2d(Tensor x) { return pool2d(x, global_window(x), op::PoolFn::avg); }

}  // namespace tenon
