// Random cases of every operation but contractions and pools (random_contractions.cpp) and chains (random_chain.hpp).
#include "tests/random_forms.hpp"

#include "kernels/common/order.hpp"
#include "tests/case_forms.hpp"

namespace tenon::tests {

using op::UnaryFn;

Case random_unary(Draw& d, const Wish&, op::Kind kind) {
  const bool gradient = kind == op::kind_of<op::UnaryGrad>;
  const op::Unary o{static_cast<UnaryFn>(d.between(0, static_cast<int>(UnaryFn::abs))), d.of({0.3f, 1.f, -1.5f}),
                    d.of({0.f, 0.7f})};
  const bool linear = o.fn == UnaryFn::identity || o.fn == UnaryFn::affine;  // rules emit no gradient op for these
  op::Unary used = gradient && linear ? op::Unary{UnaryFn::relu} : o;
  if (used.fn == UnaryFn::leaky_relu || used.fn == UnaryFn::elu) used.alpha = 0.3f;
  const Shape s = d.chance(0.03) ? Shape{} : d.flat_shape(4, 8000);
  return gradient ? form::unary_grad(used, s) : form::unary(used, s);
}

Case random_binary(Draw& d, const Wish& w, op::Kind) {
  const auto fn = static_cast<op::BinaryFn>(d.between(0, w.integers ? 2 : 3));
  const Shape s = d.shape(0, 4, 6000);
  Shape a = s, b = s;
  if (d.chance(0.5))
    for (int axis = 0; axis < s.rank(); ++axis) {
      if (d.chance(0.4)) (d.chance(0.5) ? a : b) = (d.chance(0.5) ? a : b).with(axis, 1);
    }
  // Where both sides lost the axis the result has extent 1 there, which is fine.
  const auto broadcasts = [](const Shape& p, const Shape& q) {
    for (int axis = 0; axis < p.rank(); ++axis)
      if (p[axis] != q[axis] && p[axis] != 1 && q[axis] != 1) return false;
    return true;
  };
  if (!broadcasts(a, b)) b = a;
  if (b.rank() > 0 && d.chance(0.3)) {  // fewer axes
    const auto e = b.extents();
    b = Shape(e.subspan(static_cast<std::size_t>(d.between(0, b.rank()))));
  }
  return form::binary(fn, a, b);
}

Shape random_rows(Draw& d, const Wish& w) {
  const std::int64_t c = w.many ? d.beyond(order::reduce_chunk) : d.extent(5000);
  Shape s = d.chance(0.8) ? d.shape(1, 2, std::max<std::int64_t>(1, w.many ? 3 : 20000 / c)) : Shape{};
  s.push_back(c);
  return s;
}

Case random_bias(Draw& d, const Wish& w, op::Kind kind) {
  Shape s = d.shape(1, 4, 20000);
  if (w.many) {
    if (d.chance(0.5))
      s = {d.beyond(order::k_chunk), d.extent(40)};
    else
      s = {d.beyond(order::sample_group), d.extent(10), d.extent(10), d.extent(40)};
  }
  return kind == op::kind_of<op::BiasGrad> ? form::bias_grad(s) : form::bias_add(s);
}

Case random_class_loss(Draw& d, const Wish& w, op::Kind kind) {
  const DType target = d.of({DType::i32, DType::u8, DType::f32});
  std::int64_t c = w.many ? d.beyond(order::reduce_chunk) : d.extent(5000);
  const std::int64_t n =
      w.many ? d.between(1, 3) : d.extent(std::max<std::int64_t>(1, std::min<std::int64_t>(3000, 20000 / c)));
  if (kind == op::kind_of<op::Correct>) return form::correct(n, c, target);
  return kind == op::kind_of<op::SoftmaxCrossEntropy> ? form::softmax_crossentropy(n, c, target)
                                                      : form::softmax_crossentropy_grad(n, c, target);
}

Case random_softmax(Draw& d, const Wish& w, op::Kind kind) {
  const bool log = d.chance(0.5);
  const Shape s = random_rows(d, w);
  return kind == op::kind_of<op::SoftmaxGrad> ? form::softmax_grad(log, s) : form::softmax(log, s);
}

Case random_pair_loss(Draw& d, const Wish&, op::Kind kind) { return form::pair_loss(kind, d.flat_shape(3, 8000)); }

Case random_dropout(Draw& d, const Wish& w, op::Kind kind) {
  const bool gradient = kind == op::kind_of<op::DropoutGrad>;
  const float rate = w.integers ? 0.5f : gradient ? d.of({0.1f, 0.25f, 0.5f}) : d.of({0.1f, 0.25f, 0.5f, 0.9f});
  const Shape s = d.flat_shape(4, 8000);
  return gradient ? form::dropout_grad(rate, s) : form::dropout(rate, d.small(0, 9), s);
}

Case random_transpose(Draw& d, const Wish&, op::Kind) {
  const Shape s = d.shape(1, 5, 8000);
  std::vector<std::int8_t> perm;
  for (int i = 0; i < s.rank(); ++i) perm.insert(perm.begin() + d.between(0, i), static_cast<std::int8_t>(i));
  op::Transpose o;
  std::copy(perm.begin(), perm.end(), o.perm);
  return form::transpose(o, s);
}

Case random_concat(Draw& d, const Wish&, op::Kind) {
  const Shape s = d.shape(1, 4, 4000);
  const int axis = d.small(0, s.rank() - 1);
  std::vector<Shape> parts{s};
  for (int i = d.small(0, 4); i > 0; --i) parts.push_back(s.with(axis, d.extent(30)));
  return form::concat(axis, parts);
}

Case random_slice(Draw& d, const Wish&, op::Kind kind) {
  const Shape s = d.shape(1, 4, 8000);
  const int axis = d.small(0, s.rank() - 1);
  const std::int64_t begin = d.between(0, s[axis] - 1), length = d.between(1, s[axis] - begin);
  const op::Slice o{.axis = axis, .begin = begin, .length = length};
  return kind == op::kind_of<op::SliceGrad> ? form::slice_grad(o, s) : form::slice(o, s);
}

Case random_gather(Draw& d, const Wish&, op::Kind kind) {
  Shape table = d.shape(1, 3, 8000);
  const std::int64_t width = table.elements() / table[0];
  const Shape ids = d.shape(1, 2, std::max<std::int64_t>(1, std::min<std::int64_t>(300, 20000 / width)));
  return kind == op::kind_of<op::GatherGrad> ? form::gather_grad(table, ids) : form::gather(table, ids);
}

Case random_broadcast_to(Draw& d, const Wish&, op::Kind) {
  const Shape y = d.shape(1, 5, 8000);
  Shape x = y;
  for (int axis = 0; axis < y.rank(); ++axis)
    if (d.chance(0.4)) x = x.with(axis, 1);
  if (d.chance(0.3)) {
    const auto e = x.extents();
    x = Shape(e.subspan(static_cast<std::size_t>(d.between(0, x.rank()))));
  }
  return form::broadcast_to(x, y);
}

Case random_reduce(Draw& d, const Wish& w, op::Kind kind) {
  const bool select = kind == op::kind_of<op::ReduceSelectGrad>;
  using enum op::ReduceFn;
  op::Reduce o;
  o.fn = select       ? d.of({max, min})
         : w.integers ? d.of({sum, sum, max})
         : w.many     ? d.of({sum, mean})
                      : d.of({sum, sum, mean, max, min});
  o.keepdims = d.chance(0.3);
  Shape x = d.shape(1, 4, 10000);
  o.axis = d.small(0, x.rank() - 1);
  o.count = d.small(1, x.rank() - o.axis);
  if (w.many && d.chance(0.5)) {  // a row
    x = {d.between(1, 3), d.beyond(order::reduce_chunk)};
    o.axis = 1;
    o.count = 1;
  } else if (w.many) {  // with neighbours
    x = {d.between(1, 2), d.beyond(order::k_chunk), d.between(2, 20)};
    o.axis = 1;
    o.count = 1;
  }
  return select ? form::reduce_select_grad(o, x) : form::reduce(o, x);
}

Case random_update(Draw& d, const Wish& w, op::Kind kind) {
  const op::UpdateCommon common{
      .lr_scale = d.of({1.f, 0.5f}), .weight_decay = d.of({0.f, 0.f, 0.02f}), .clipped = d.chance(0.3)};
  const std::int64_t n = w.many ? d.beyond(order::reduce_chunk) : d.extent(8000);
  switch (kind) {
    case op::kind_of<op::SgdUpdate>:
      return form::update(op::SgdUpdate{common, d.of({0.f, 0.9f}), d.chance(0.5)}, n);
    case op::kind_of<op::AdadeltaUpdate>:
      return form::update(op::AdadeltaUpdate{common}, n);
    case op::kind_of<op::AdagradUpdate>:
      return form::update(op::AdagradUpdate{common}, n);
    case op::kind_of<op::RmspropUpdate>:
      return form::update(op::RmspropUpdate{common, 0.9f, d.of({0.f, 0.8f}), 1e-7f, d.chance(0.5)}, n);
    case op::kind_of<op::AdamUpdate>:
      return form::update(op::AdamUpdate{.common = common, .decoupled = d.chance(0.5)}, n);
    case op::kind_of<op::AccumulateGrad>:
      return form::update(op::AccumulateGrad{w.integers ? d.of({1.f, 0.5f}) : d.of({1.f, 0.3f})}, n);
    case op::kind_of<op::UnscaleGrad>:
      return form::update(op::UnscaleGrad{d.of({1.f, 0.5f, 0x1p-10f})}, n);
    case op::kind_of<op::ClipNorm>:
      return form::update(op::ClipNorm{d.of({0.1f, 1.f, 1000.f})}, n);
    case op::kind_of<op::AssignEma>:
      return form::update(op::AssignEma{d.of({0.f, 0.9f})}, n);
    default:
      return form::update(op::CheckFinite{}, 1);
  }
}

}  // namespace tenon::tests
