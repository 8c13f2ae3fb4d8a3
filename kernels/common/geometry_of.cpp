// Extents of a convolution or pooling from the problem that it is bound to. Output extents are computed from the
// input's (not read from gy), because a pooled epilogue has halved those of gy.
#include "kernels/common/geometry_of.hpp"

#include <string>

#include "tenon/error.hpp"

namespace tenon {
namespace {

std::int32_t extent(const TensorSpec& spec, int axis) { return static_cast<std::int32_t>(spec.shape[axis]); }

std::int32_t window_count(std::int32_t padded, std::int32_t taps, std::int32_t dilation, std::int32_t stride) {
  return (padded - ((taps - 1) * dilation + 1)) / stride + 1;
}

void set_image(ConvGeometry& g, const TensorSpec& x) {
  g.n = x.shape[0];
  g.h = extent(x, 1);
  g.w = extent(x, 2);
  g.c = extent(x, 3);
}

void set_filter(ConvGeometry& g, const TensorSpec& filter, std::int32_t groups) {
  g.kh = extent(filter, 0);
  g.kw = extent(filter, 1);
  g.c = extent(filter, 2) * groups;
  g.k = extent(filter, 3);
}

ConvGeometry complete(ConvGeometry g, const op::Conv2d& conv) {
  const op::Epilogue& e = conv.epilogue;
  g.stride_h = conv.stride.h;
  g.stride_w = conv.stride.w;
  g.dilation_h = conv.dilation.h;
  g.dilation_w = conv.dilation.w;
  g.pad_top = conv.pad.top;
  g.pad_left = conv.pad.left;
  g.groups = conv.groups;
  g.oh = window_count(g.h + conv.pad.top + conv.pad.bottom, g.kh, conv.dilation.h, conv.stride.h);
  g.ow = window_count(g.w + conv.pad.left + conv.pad.right, g.kw, conv.dilation.w, conv.stride.w);
  g.ph = e.pool ? g.oh / 2 : g.oh;
  g.pw = e.pool ? g.ow / 2 : g.ow;
  g.bias = e.bias;
  g.pool = e.pool;
  g.mask = e.saves_mask();
  g.activation = static_cast<std::uint8_t>(e.activation);
  g.alpha = e.alpha;
  g.dropout = e.dropout;
  g.site = e.site;
  return g;
}

PoolGeometry complete(PoolGeometry g, const op::Pool2d& pool) {
  g.window_h = pool.window.h;
  g.window_w = pool.window.w;
  g.stride_h = pool.stride.h;
  g.stride_w = pool.stride.w;
  g.pad_top = pool.pad.top;
  g.pad_left = pool.pad.left;
  g.oh = window_count(g.h + pool.pad.top + pool.pad.bottom, pool.window.h, 1, pool.stride.h);
  g.ow = window_count(g.w + pool.pad.left + pool.pad.right, pool.window.w, 1, pool.stride.w);
  return g;
}

}  // namespace

ConvGeometry conv_geometry(const Problem& p) {
  ConvGeometry g;
  if (p.kind == op::kind_of<op::Conv2d>) {
    const auto& forward = p.as<op::Conv2d>();
    set_filter(g, p.in[1], forward.groups);
    set_image(g, p.in[0]);
    return complete(g, forward);
  }
  if (p.kind == op::kind_of<op::Conv2dGradInput>) {  // gy, filter
    const auto& grad = p.as<op::Conv2dGradInput>();
    set_filter(g, p.in[1], grad.forward.groups);
    g.n = p.in[0].shape[0];
    g.h = grad.h;
    g.w = grad.w;
    return complete(g, grad.forward);
  }
  if (p.kind == op::kind_of<op::Conv2dGradFilter>) {  // gy, x
    const auto& grad = p.as<op::Conv2dGradFilter>();
    set_image(g, p.in[1]);
    g.kh = grad.kernel.h;
    g.kw = grad.kernel.w;
    g.k = extent(p.in[0], 3);
    return complete(g, grad.forward);
  }
  throw UsageError("[conv_geometry] expected a convolution or its gradient, found " + std::string(op::name_of(p.kind)));
}

PoolGeometry pool_geometry(const Problem& p) {
  PoolGeometry g;
  g.n = p.in[0].shape[0];
  g.c = extent(p.in[0], 3);
  if (p.kind == op::kind_of<op::Pool2d>) {
    g.h = extent(p.in[0], 1);
    g.w = extent(p.in[0], 2);
    return complete(g, p.as<op::Pool2d>());
  }
  if (p.kind == op::kind_of<op::Pool2dGrad>) {
    const auto& grad = p.as<op::Pool2dGrad>();
    g.h = grad.h;
    g.w = grad.w;
    return complete(g, grad.forward);
  }
  throw UsageError("[pool_geometry] expected a pooling or its gradient, found " + std::string(op::name_of(p.kind)));
}

}  // namespace tenon
