// conv2d: y = epilogue(cross-correlation of x (n,h,w,c) with filter (kh,kw,c/groups,k)). The fused op owns its gradient:
// its two gradient ops undo the epilogue from one saved byte an element (see op::Epilogue) or from y.
#include "lib/ops/check.hpp"
#include "lib/ops/epilogue.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {
namespace {

std::int64_t extent(std::int64_t in, std::int32_t pad, std::int64_t taps, std::int32_t dilation, std::int32_t stride) {
  const std::int64_t reach = in + pad - ((taps - 1) * dilation + 1);
  return reach < 0 ? 0 : reach / stride + 1;
}

void check_attributes(const Conv2d& c) {
  if (c.stride.h < 1 || c.stride.w < 1)
    reject(Conv2d::name, "strides are 1 or more, found ({},{})", c.stride.h, c.stride.w);
  if (c.dilation.h < 1 || c.dilation.w < 1)
    reject(Conv2d::name, "dilations are 1 or more, found ({},{})", c.dilation.h, c.dilation.w);
  if (c.groups < 1) reject(Conv2d::name, "groups are 1 or more, found {}", c.groups);
  if (c.pad.top < 0 || c.pad.bottom < 0 || c.pad.left < 0 || c.pad.right < 0)
    reject(Conv2d::name, "paddings are 0 or more, found ({},{},{},{})", c.pad.top, c.pad.bottom, c.pad.left,
           c.pad.right);
}

/// Shape before the epilogue.
Shape plain_output(const Conv2d& c, const TensorSpec& x, const TensorSpec& f) {
  const Shape& xs = x.shape;
  const Shape& fs = f.shape;
  if (xs[3] % c.groups != 0 || fs[3] % c.groups != 0)
    reject(Conv2d::name, "channels divide by groups {}: input {}, filter {}", c.groups, xs.str(), fs.str());
  if (fs[2] != xs[3] / c.groups)
    reject(Conv2d::name, "filter expects {} channels, input has {}: input {}, filter {}", fs[2] * c.groups, xs[3],
           xs.str(), fs.str());
  const std::int64_t oh = extent(xs[1], c.pad.top + c.pad.bottom, fs[0], c.dilation.h, c.stride.h);
  const std::int64_t ow = extent(xs[2], c.pad.left + c.pad.right, fs[1], c.dilation.w, c.stride.w);
  if (oh < 1 || ow < 1) reject(Conv2d::name, "filter {} does not fit into input {}", fs.str(), xs.str());
  return {xs[0], oh, ow, fs[3]};
}

double macs(const Shape& z, const Shape& filter) {
  return static_cast<double>(z.elements()) * static_cast<double>(filter.product(0, 3));
}

/// What the gradient ops read of the epilogue, after gy and their own operand.
void check_saved(std::string_view op, const Epilogue& e, Specs in) {
  require_operands(op, in, e.gradient_reads_saved() ? 3 : 2);
  if (e.gradient_reads_saved() && in[2].shape != in[0].shape)
    reject(op, "saved value expects the shape of the gradient {}, found {}", in[0].shape.str(), in[2].shape.str());
}

}  // namespace

SpecList infer(const Conv2d& c, Specs in) {
  require_operands(Conv2d::name, in, c.epilogue.bias ? 3 : 2);
  require_rank(Conv2d::name, "input (n,h,w,c)", in[0], 4);
  require_rank(Conv2d::name, "filter (kh,kw,c,k)", in[1], 4);
  require_float(Conv2d::name, "input", in[0]);
  require_same_dtype(Conv2d::name, in[0], in[1]);
  check_attributes(c);
  return epilogue_outputs(Conv2d::name, c.epilogue, {in[0].dtype, plain_output(c, in[0], in[1])}, in);
}

Cost cost(const Conv2d& c, Specs in, Specs out) {
  const double z = macs(plain_output(c, in[0], in[1]), in[1].shape);
  return {2 * z, traffic(in, out)};
}

void vjp(const Conv2d& c, Vjp& v) {
  const ValueId gy = v.grad(), x = v.input(0), filter = v.input(1);
  const Shape xs = v.spec(x).shape, fs = v.spec(filter).shape;
  std::vector<ValueId> saved;
  if (c.epilogue.gradient_reads_saved()) saved.push_back(v.output(c.epilogue.saves_mask() ? 1 : 0));
  const bool wants_bias = c.epilogue.bias && v.wants(2);
  if (v.wants(1) || wants_bias) {
    Conv2dGradFilter g{c, {static_cast<std::int32_t>(fs[0]), static_cast<std::int32_t>(fs[1])}};
    std::vector<ValueId> in{gy, x};
    in.insert(in.end(), saved.begin(), saved.end());
    const std::vector<ValueId> out = v.emit_all(g, in);
    if (v.wants(1)) v.accumulate(1, out[0]);
    if (wants_bias) v.accumulate(2, out[1]);
  }
  if (v.wants(0)) {
    std::vector<ValueId> in{gy, filter};
    in.insert(in.end(), saved.begin(), saved.end());
    v.accumulate(0, v.emit(Conv2dGradInput{c, static_cast<std::int32_t>(xs[1]), static_cast<std::int32_t>(xs[2])}, in));
  }
}

SpecList infer(const Conv2dGradInput& g, Specs in) {
  check_saved(Conv2dGradInput::name, g.forward.epilogue, in);
  require_rank(Conv2dGradInput::name, "gradient (n,oh,ow,k)", in[0], 4);
  require_rank(Conv2dGradInput::name, "filter (kh,kw,c,k)", in[1], 4);
  const Shape& f = in[1].shape;
  const TensorSpec x{in[0].dtype, {in[0].shape[0], g.h, g.w, f[2] * g.forward.groups}};
  const Shape z = plain_output(g.forward, x, in[1]);
  require_same(Conv2dGradInput::name, "gradient", {in[0].dtype, in[0].shape},
               {in[0].dtype, after_pool(g.forward.epilogue, z)});
  return {x};
}
Cost cost(const Conv2dGradInput& g, Specs in, Specs out) {
  return {2 * macs(plain_output(g.forward, out[0], in[1]), in[1].shape), traffic(in, out)};
}

SpecList infer(const Conv2dGradFilter& g, Specs in) {
  check_saved(Conv2dGradFilter::name, g.forward.epilogue, in);
  require_rank(Conv2dGradFilter::name, "gradient (n,oh,ow,k)", in[0], 4);
  require_rank(Conv2dGradFilter::name, "input (n,h,w,c)", in[1], 4);
  const std::int64_t k = in[0].shape[3];
  const TensorSpec filter{in[0].dtype, {g.kernel.h, g.kernel.w, in[1].shape[3] / g.forward.groups, k}};
  const Shape z = plain_output(g.forward, in[1], filter);
  require_same(Conv2dGradFilter::name, "gradient", in[0], {in[0].dtype, after_pool(g.forward.epilogue, z)});
  SpecList out{filter};
  if (g.forward.epilogue.bias) out.push_back({in[0].dtype, {k}});
  return out;
}
Cost cost(const Conv2dGradFilter& g, Specs in, Specs out) {
  return {2 * macs(plain_output(g.forward, in[1], out[0]), out[0].shape), traffic(in, out)};
}

}  // namespace tenon::op

namespace tenon {

op::Pad resolve_padding(const Padding& p, Hw in, Hw taps, Hw stride, Hw dilation) {
  if (p.mode == Padding::Mode::valid) return {};
  if (p.mode == Padding::Mode::explicit_) return {p.top, p.bottom, p.left, p.right};
  const auto total = [](std::int32_t extent, std::int32_t k, std::int32_t s, std::int32_t d) {
    const std::int32_t out = (extent + s - 1) / s;
    return std::max(0, (out - 1) * s + (k - 1) * d + 1 - extent);
  };
  const std::int32_t h = total(in.h, taps.h, std::max(1, stride.h), dilation.h);
  const std::int32_t w = total(in.w, taps.w, std::max(1, stride.w), dilation.w);
  return {h / 2, h - h / 2, w / 2, w - w / 2};
}

Tensor conv2d(Tensor x, Tensor filter, Conv2dOptions o) {
  Graph& g = graph_of(op::Conv2d::name, x, filter);
  require_rank(op::Conv2d::name, "input (n,h,w,c)", g.spec(x.id()), 4);
  require_rank(op::Conv2d::name, "filter (kh,kw,c,k)", g.spec(filter.id()), 4);
  const auto at = [](const Shape& s, int axis) { return static_cast<std::int32_t>(s[axis]); };
  const op::Pad pad = resolve_padding(o.padding, {at(x.shape(), 1), at(x.shape(), 2)},
                                      {at(filter.shape(), 0), at(filter.shape(), 1)}, o.stride, o.dilation);
  return {&g, g.append1(op::Conv2d{o.stride, o.dilation, pad, o.groups, {}}, {x.id(), filter.id()})};
}

}  // namespace tenon
