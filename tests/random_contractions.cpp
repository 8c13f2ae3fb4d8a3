// Random contractions, with their epilogues, and pools: the operations whose attributes decide which extents fit at
// all, so that window, padding and stride are drawn first and the image is made large enough for them.
#include "tests/random_contractions.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/common/order.hpp"
#include "tests/case_forms.hpp"

namespace tenon::tests {
namespace {

using op::Epilogue;
using op::UnaryFn;

Epilogue epilogue(Draw& d, const Wish& w, bool pool_fits, bool gradient) {
  Epilogue e;
  if (d.chance(0.4)) return e;  // rows that take none are tried often enough
  e.bias = d.chance(0.6);
  e.site = d.small(0, 9);
  const bool masked = d.chance(0.4);
  if (masked) {
    e.activation = d.of({UnaryFn::identity, UnaryFn::relu});
    e.pool = pool_fits && d.chance(0.6);
    if (!e.pool || d.chance(0.5)) e.dropout = w.integers ? 0.5f : d.of({0.1f, 0.25f, 0.5f});
  } else if (w.integers) {
    e.activation = d.of({UnaryFn::identity, UnaryFn::relu, UnaryFn::leaky_relu});
    e.alpha = 0.25f;
  } else {
    e.activation = d.of({UnaryFn::identity, UnaryFn::relu, UnaryFn::relu, UnaryFn::leaky_relu, UnaryFn::elu,
                         UnaryFn::sigmoid, UnaryFn::tanh});
    if (!gradient && d.chance(0.1)) e.activation = d.of({UnaryFn::gelu, UnaryFn::silu});
    e.alpha = 0.3f;
  }
  return e;
}

}  // namespace

Case random_conv2d(Draw& d, const Wish& w, op::Kind kind) {
  const bool filter_gradient = kind == op::kind_of<op::Conv2dGradFilter>, forward = kind == op::kind_of<op::Conv2d>;
  // The commonest convolution, which some rows take alone.
  const bool plain = d.chance(0.3);
  const std::int64_t kh = plain ? 3 : d.of({1, 1, 2, 3, 3, 3, 4, 5}),
                     kw = plain || d.chance(0.7) ? kh : d.between(1, 5);
  op::Conv2d o;
  if (!plain && d.chance(0.35)) o.stride = {d.small(1, 3), d.small(1, 3)};
  if (!plain && d.chance(0.25)) o.dilation = {d.small(1, 3), d.small(1, 2)};
  if (d.chance(0.5)) {
    const int most_h = static_cast<int>(kh) / 2 + 1, most_w = static_cast<int>(kw) / 2 + 1;
    o.pad = {d.small(0, most_h), d.small(0, most_h), d.small(0, most_w), d.small(0, most_w)};
  }
  if (!plain && d.chance(0.25)) o.groups = d.small(2, 4);
  std::int64_t cg = d.extent(o.groups > 1 ? 20 : kh * kw == 1 ? 1100 : 140), kg = d.extent(o.groups > 1 ? 20 : 140);
  std::int64_t n = d.extent(12), h = d.extent(20), wide = d.extent(40);
  if (o.groups > 1 && d.chance(0.3)) cg = 1;        // depthwise
  if (o.groups == 1 && !plain && d.chance(0.15)) {  // a first layer
    cg = d.between(1, 4);
    kg = 4 * d.between(1, 20);
  }
  if (w.many && forward) {
    cg = d.beyond(order::k_chunk) / (kh * kw) + 1;
    o.groups = d.chance(0.9) ? 1 : 2;
    kg = d.between(1, 20);
    n = d.between(1, 2);
    h = d.between(1, 4);
    wide = d.between(1, 6);
  } else if (w.many && filter_gradient) {
    n = d.beyond(order::sample_group);
    const bool first_layer = d.chance(0.3);
    cg = first_layer ? d.between(1, 4) : d.extent(12);
    kg = first_layer ? 4 * d.between(1, 5) : d.extent(20);
    h = d.between(1, 6);
    wide = d.between(1, 8);
    if (d.chance(0.5)) {  // some rows take no fewer
      cg = std::max<std::int64_t>(cg, 16);
      kg = std::max<std::int64_t>(kg, 16);
    }
  }
  if (plain) {
    cg = std::max<std::int64_t>(cg, 8);
    kg = std::max<std::int64_t>(kg, 8);
    h = std::max<std::int64_t>(h, 6);
    wide = std::max<std::int64_t>(wide, 6);
  }
  const std::int64_t reach_h = (kh - 1) * o.dilation.h + 1, reach_w = (kw - 1) * o.dilation.w + 1;
  h = std::max(h, reach_h - o.pad.top - o.pad.bottom);
  wide = std::max(wide, reach_w - o.pad.left - o.pad.right);
  const auto out = [](std::int64_t in, std::int64_t pad, std::int64_t reach, std::int64_t stride) {
    return (in + pad - reach) / stride + 1;
  };
  const bool pool_fits = out(h, o.pad.top + o.pad.bottom, reach_h, o.stride.h) >= 2 &&
                         out(wide, o.pad.left + o.pad.right, reach_w, o.stride.w) >= 2;
  o.epilogue = epilogue(d, w, pool_fits, !forward);
  const Shape x{n, h, wide, cg * o.groups}, filter{kh, kw, cg, kg * o.groups};
  if (forward) return form::conv2d(o, x, filter);
  return filter_gradient ? form::conv2d_grad_filter(o, x, filter) : form::conv2d_grad_input(o, x, filter);
}

Case random_matmul(Draw& d, const Wish& w, op::Kind kind) {
  std::int64_t m = d.extent(300), n = d.extent(300), k = d.extent(1100);
  // The chunks run over k, over the columns for the gradient of a, over the rows for that of b.
  std::int64_t& chunked = kind == op::kind_of<op::MatMul> ? k : kind == op::kind_of<op::MatMulGradA> ? n : m;
  if (kind != op::kind_of<op::MatMul>) std::swap(chunked, k);  // those see the long extents
  if (w.many) chunked = d.beyond(order::k_chunk);
  if (w.many && d.chance(0.3)) {  // few sums of many terms, which are cut in parts on a GPU
    m = d.between(1, 70);
    n = d.between(1, 70);
    k = d.between(1, 70);
    chunked = d.between(4000, 9000);
  }
  op::MatMul o{.transpose_a = d.chance(0.3), .transpose_b = d.chance(0.3)};
  o.epilogue = epilogue(d, w, false, kind != op::kind_of<op::MatMul>);
  if (kind == op::kind_of<op::MatMul>) return form::matmul(o, m, n, k);
  return kind == op::kind_of<op::MatMulGradA> ? form::matmul_grad_a(o, m, n, k) : form::matmul_grad_b(o, m, n, k);
}

Case random_pool2d(Draw& d, const Wish& w, op::Kind kind) {
  op::Pool2d o;
  o.fn = w.integers || d.chance(0.6) ? op::PoolFn::max : op::PoolFn::avg;
  if (d.chance(0.6)) {
    o.window = {d.small(1, 4), d.small(1, 4)};
    o.stride = {d.small(1, 4), d.small(1, 4)};
    if (d.chance(0.5))
      o.pad = {d.small(0, o.window.h - 1), d.small(0, o.window.h - 1), d.small(0, o.window.w - 1),
               d.small(0, o.window.w - 1)};
  }
  const std::int64_t n = d.extent(9), c = d.extent(5000);
  const std::int64_t h = std::max<std::int64_t>(d.extent(20), o.window.h - o.pad.top - o.pad.bottom);
  const std::int64_t wide = std::max<std::int64_t>(d.extent(40), o.window.w - o.pad.left - o.pad.right);
  const Shape x{n, std::max<std::int64_t>(1, h), std::max<std::int64_t>(1, wide), c};
  return kind == op::kind_of<op::Pool2dGrad> ? form::pool2d_grad(o, x) : form::pool2d(o, x);
}

}  // namespace tenon::tests
