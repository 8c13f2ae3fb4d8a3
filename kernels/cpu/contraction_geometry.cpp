// Convolutions by the reach of their windows.
#include "kernels/cpu/contraction_geometry.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/common/geometry_of.hpp"
#include "kernels/common/order.hpp"

namespace tenon::cpu {
namespace {

/// The first output position that reaches an image; negative where it lies in front of the first that there is.
std::int64_t first_position(std::int64_t pad, std::int64_t kernel, std::int64_t dilation, std::int64_t stride) {
  const std::int64_t o = pad - (kernel - 1) * dilation;
  return o / stride - (o % stride < 0 ? 1 : 0);
}

}  // namespace

Conv2dPlan conv_plan(const Problem& p, std::int32_t panel) {
  Conv2dPlan c{};
  c.g = conv_geometry(p);
  c.threads = p.threads;
  const ConvGeometry& g = c.g;
  c.cg = g.c / g.groups;
  c.kg = g.k / g.groups;
  // What the windows reach; an image without padding is used where it lies.
  const std::int32_t reach_h = (g.oh - 1) * g.stride_h + (g.kh - 1) * g.dilation_h + 1;
  const std::int32_t reach_w = (g.ow - 1) * g.stride_w + (g.kw - 1) * g.dilation_w + 1;
  c.depthwise = c.cg == 1 && c.kg == 1 && g.groups > 1 && !g.pool && std::int64_t{g.kh} * g.kw <= order::k_chunk;
  const bool inside = g.pad_top == 0 && g.pad_left == 0 && reach_h <= g.h && reach_w <= g.w;
  c.padded = !inside;
  c.padded_h = inside ? g.h : std::max(reach_h, g.pad_top + 1);
  c.padded_w = inside ? g.w : std::max(reach_w, g.pad_left + 1);
  c.panels = (c.kg + panel - 1) / panel;
  return c;
}

DzFrame dz_frame(const ConvGeometry& g) {
  DzFrame f;
  f.reach_h = g.dilation_h / std::gcd(g.dilation_h, g.stride_h);
  f.reach_w = g.dilation_w / std::gcd(g.dilation_w, g.stride_w);
  f.top = first_position(g.pad_top, g.kh, g.dilation_h, g.stride_h);
  f.left = first_position(g.pad_left, g.kw, g.dilation_w, g.stride_w);
  f.h = (g.h - 1 + g.pad_top) / g.stride_h - f.top + 1;
  f.w = (g.w - 1 + g.pad_left) / g.stride_w - f.left + 1;
  return f;
}

}  // namespace tenon::cpu
