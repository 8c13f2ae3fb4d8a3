// Random problems of every operation. A case that aims at an edge draws extents within 1 of it until one fits; the
// others are log-uniform, so that small extents are common. Work is bounded: an extent that would make the case too
// large is drawn again. Contractions and pools are drawn in random_contractions.cpp.
#include "kernels/common/order.hpp"
#include "lib/train/row_check.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"
#include "tests/case_forms.hpp"
#include "tests/random_chain.hpp"
#include "tests/random_contractions.hpp"

namespace tenon::tests {
namespace {

using op::UnaryFn;

Case unary(Draw& d, bool gradient) {
  const op::Unary o{static_cast<UnaryFn>(d.between(0, static_cast<int>(UnaryFn::abs))), d.of({0.3f, 1.f, -1.5f}),
                    d.of({0.f, 0.7f})};
  const bool linear = o.fn == UnaryFn::identity || o.fn == UnaryFn::affine;  // rules emit no gradient op for these
  op::Unary used = gradient && linear ? op::Unary{UnaryFn::relu} : o;
  if (used.fn == UnaryFn::leaky_relu || used.fn == UnaryFn::elu) used.alpha = 0.3f;
  const Shape s = d.chance(0.03) ? Shape{} : d.flat_shape(4, 8000);
  return gradient ? form::unary_grad(used, s) : form::unary(used, s);
}

Case binary(Draw& d, const Wish& w) {
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

/// x (..., c), c long enough for many chunks where wished.
Shape rows(Draw& d, const Wish& w, int least_rank, int most_rank) {
  const std::int64_t c = w.many ? d.beyond(order::reduce_chunk) : d.extent(5000);
  Shape s = least_rank > 1 || d.chance(0.8)
                ? d.shape(std::max(1, least_rank - 1), most_rank - 1, std::max<std::int64_t>(1, w.many ? 3 : 20000 / c))
                : Shape{};
  s.push_back(c);
  return s;
}

Case bias(Draw& d, const Wish& w, bool gradient) {
  Shape s = d.shape(1, 4, 20000);
  if (w.many) {
    if (d.chance(0.5))
      s = {d.beyond(order::k_chunk), d.extent(40)};
    else
      s = {d.beyond(order::sample_group), d.extent(10), d.extent(10), d.extent(40)};
  }
  return gradient ? form::bias_grad(s) : form::bias_add(s);
}

Case class_loss(Draw& d, const Wish& w, op::Kind kind) {
  const DType target = d.of({DType::i32, DType::u8, DType::f32});
  std::int64_t c = w.many ? d.beyond(order::reduce_chunk) : d.extent(5000);
  const std::int64_t n =
      w.many ? d.between(1, 3) : d.extent(std::max<std::int64_t>(1, std::min<std::int64_t>(3000, 20000 / c)));
  if (kind == op::kind_of<op::Correct>) return form::correct(n, c, target);
  return kind == op::kind_of<op::SoftmaxCrossEntropy> ? form::softmax_crossentropy(n, c, target)
                                                      : form::softmax_crossentropy_grad(n, c, target);
}

Case transpose(Draw& d) {
  const Shape s = d.shape(1, 5, 8000);
  std::vector<std::int8_t> perm;
  for (int i = 0; i < s.rank(); ++i) perm.insert(perm.begin() + d.between(0, i), static_cast<std::int8_t>(i));
  op::Transpose o;
  std::copy(perm.begin(), perm.end(), o.perm);
  return form::transpose(o, s);
}

Case concat(Draw& d) {
  const Shape s = d.shape(1, 4, 4000);
  const int axis = d.small(0, s.rank() - 1);
  std::vector<Shape> parts{s};
  for (int i = d.small(0, 4); i > 0; --i) parts.push_back(s.with(axis, d.extent(30)));
  return form::concat(axis, parts);
}

Case slice(Draw& d, bool gradient) {
  const Shape s = d.shape(1, 4, 8000);
  const int axis = d.small(0, s.rank() - 1);
  const std::int64_t begin = d.between(0, s[axis] - 1), length = d.between(1, s[axis] - begin);
  const op::Slice o{.axis = axis, .begin = begin, .length = length};
  return gradient ? form::slice_grad(o, s) : form::slice(o, s);
}

Case gather(Draw& d, bool gradient) {
  Shape table = d.shape(1, 3, 8000);
  const std::int64_t width = table.elements() / table[0];
  const Shape ids = d.shape(1, 2, std::max<std::int64_t>(1, std::min<std::int64_t>(300, 20000 / width)));
  return gradient ? form::gather_grad(table, ids) : form::gather(table, ids);
}

Case broadcast_to(Draw& d) {
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

Case reduce(Draw& d, const Wish& w, bool select) {
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

Case update(Draw& d, const Wish& w, op::Kind kind) {
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
    case op::kind_of<op::ClipNorm>:
      return form::update(op::ClipNorm{d.of({0.1f, 1.f, 1000.f})}, n);
    case op::kind_of<op::AssignEma>:
      return form::update(op::AssignEma{d.of({0.f, 0.9f})}, n);
    default:
      return form::update(op::CheckFinite{}, 1);
  }
}

Case draw_case(op::Kind kind, Draw& d, const Wish& w) {
  switch (kind) {
    case op::kind_of<op::Conv2d>:
    case op::kind_of<op::Conv2dGradInput>:
    case op::kind_of<op::Conv2dGradFilter>:
      return random_conv2d(d, w, kind);
    case op::kind_of<op::MatMul>:
    case op::kind_of<op::MatMulGradA>:
    case op::kind_of<op::MatMulGradB>:
      return random_matmul(d, w, kind);
    case op::kind_of<op::Pool2d>:
      return random_pool2d(d, w, false);
    case op::kind_of<op::Pool2dGrad>:
      return random_pool2d(d, w, true);
    case op::kind_of<op::Unary>:
      return unary(d, false);
    case op::kind_of<op::UnaryGrad>:
      return unary(d, true);
    case op::kind_of<op::Binary>:
      return binary(d, w);
    case op::kind_of<op::PointwiseChain>:
      return random_chain(d);
    case op::kind_of<op::BiasAdd>:
      return bias(d, w, false);
    case op::kind_of<op::BiasGrad>:
      return bias(d, w, true);
    case op::kind_of<op::Softmax>:
      return form::softmax(d.chance(0.5), rows(d, w, 1, 3));
    case op::kind_of<op::SoftmaxGrad>:
      return form::softmax_grad(d.chance(0.5), rows(d, w, 1, 3));
    case op::kind_of<op::SoftmaxCrossEntropy>:
    case op::kind_of<op::SoftmaxCrossEntropyGrad>:
    case op::kind_of<op::Correct>:
      return class_loss(d, w, kind);
    case op::kind_of<op::SigmoidCrossEntropy>:
    case op::kind_of<op::SigmoidCrossEntropyGrad>:
    case op::kind_of<op::BinaryCrossEntropy>:
    case op::kind_of<op::BinaryCrossEntropyGrad>:
      return form::pair_loss(kind, d.flat_shape(3, 8000));
    case op::kind_of<op::Dropout>:
      return form::dropout(w.integers ? 0.5f : d.of({0.1f, 0.25f, 0.5f, 0.9f}), d.small(0, 9), d.flat_shape(4, 8000));
    case op::kind_of<op::DropoutGrad>:
      return form::dropout_grad(w.integers ? 0.5f : d.of({0.1f, 0.25f, 0.5f}), d.flat_shape(4, 8000));
    case op::kind_of<op::Transpose>:
      return transpose(d);
    case op::kind_of<op::Concat>:
      return concat(d);
    case op::kind_of<op::Slice>:
      return slice(d, false);
    case op::kind_of<op::SliceGrad>:
      return slice(d, true);
    case op::kind_of<op::Gather>:
      return gather(d, false);
    case op::kind_of<op::GatherGrad>:
      return gather(d, true);
    case op::kind_of<op::BroadcastTo>:
      return broadcast_to(d);
    case op::kind_of<op::Reduce>:
      return reduce(d, w, false);
    case op::kind_of<op::ReduceSelectGrad>:
      return reduce(d, w, true);
    default:
      if (kind >= op::kind_of<op::SgdUpdate> && kind < op::kinds) return update(d, w, kind);
      throw UsageError("[cases] no random cases of " + std::string(op::name_of(kind)));
  }
}

/// Operations whose results are exact when their operands are small integers.
bool linear(op::Kind kind) {
  switch (kind) {
    case op::kind_of<op::Conv2d>:
    case op::kind_of<op::Conv2dGradInput>:
    case op::kind_of<op::Conv2dGradFilter>:
    case op::kind_of<op::MatMul>:
    case op::kind_of<op::MatMulGradA>:
    case op::kind_of<op::MatMulGradB>:
    case op::kind_of<op::BiasAdd>:
    case op::kind_of<op::BiasGrad>:
    case op::kind_of<op::Pool2d>:
    case op::kind_of<op::Pool2dGrad>:
    case op::kind_of<op::Binary>:
    case op::kind_of<op::Dropout>:
    case op::kind_of<op::DropoutGrad>:
    case op::kind_of<op::Gather>:
    case op::kind_of<op::GatherGrad>:
    case op::kind_of<op::Reduce>:
    case op::kind_of<op::ReduceSelectGrad>:
    case op::kind_of<op::Correct>:  // for its ties
    case op::kind_of<op::AccumulateGrad>:
      return true;
    default:
      return false;
  }
}

/// Operations that see one run of elements, whatever the axes.
bool flat(op::Kind kind) {
  switch (kind) {
    case op::kind_of<op::Unary>:
    case op::kind_of<op::UnaryGrad>:
    case op::kind_of<op::PointwiseChain>:
    case op::kind_of<op::Dropout>:
    case op::kind_of<op::DropoutGrad>:
    case op::kind_of<op::SigmoidCrossEntropy>:
    case op::kind_of<op::SigmoidCrossEntropyGrad>:
    case op::kind_of<op::BinaryCrossEntropy>:
    case op::kind_of<op::BinaryCrossEntropyGrad>:
      return true;
    default:
      return kind >= op::kind_of<op::SgdUpdate>;
  }
}

/// An extent of an operand, or the length of a sum, lies within 1 of an edge.
bool near_edge(const Case& c, const Edges& edges) {
  std::vector<std::int64_t> sizes;
  for (const TensorSpec& s : c.in) {
    if (flat(op::kind(c.op)))
      sizes.push_back(s.shape.elements());
    else
      sizes.insert(sizes.end(), s.shape.extents().begin(), s.shape.extents().end());
  }
  sizes.push_back(static_cast<std::int64_t>(reduction_length(c.op, c.in, infer_node(c.op, c.in))));
  for (const std::int64_t size : sizes)
    for (const std::int32_t edge : edges.sizes)
      if (edge > 1 && std::abs(size - edge) <= 1) return true;
  return false;
}

bool small_enough(const Case& c, double most_flops) {
  const SpecList out = infer_node(c.op, c.in);
  double bytes = 0;
  for (const TensorSpec& s : c.in) bytes += static_cast<double>(s.bytes());
  for (const TensorSpec& s : out) bytes += static_cast<double>(s.bytes());
  return cost_node(c.op, c.in, out).flops <= most_flops && bytes <= 2e6;
}

}  // namespace

std::int64_t chunks_of(const Case& c) {
  const auto groups = [](const Shape& s) { return order::chunks(s[0], order::sample_group); };
  const auto terms = [](std::int64_t n) { return order::chunks(n, order::k_chunk); };
  const auto row = [](const Shape& s) { return order::chunks(s[-1], order::reduce_chunk); };
  if (std::holds_alternative<op::Conv2d>(c.op)) return terms(c.in[1].shape.product(0, 3));
  if (std::holds_alternative<op::Conv2dGradFilter>(c.op)) return groups(c.in[0].shape);
  if (const auto* o = std::get_if<op::MatMul>(&c.op)) return terms(c.in[0].shape[o->transpose_a ? 0 : 1]);
  if (std::holds_alternative<op::MatMulGradA>(c.op)) return terms(c.in[0].shape[1]);
  if (std::holds_alternative<op::MatMulGradB>(c.op)) return terms(c.in[0].shape[0]);
  if (std::holds_alternative<op::BiasGrad>(c.op)) {
    const Shape& s = c.in[0].shape;
    return s.rank() >= 3 ? groups(s) : terms(s.product(0, s.rank() - 1));
  }
  if (std::holds_alternative<op::Softmax>(c.op) || std::holds_alternative<op::SoftmaxGrad>(c.op) ||
      std::holds_alternative<op::SoftmaxCrossEntropy>(c.op))
    return row(c.in[0].shape);
  if (std::holds_alternative<op::ClipNorm>(c.op)) return row(c.in[0].shape);
  if (const auto* o = std::get_if<op::Reduce>(&c.op)) {
    const Shape& s = c.in[0].shape;
    const std::int64_t n = s.product(o->axis, o->axis + o->count), inner = s.product(o->axis + o->count, s.rank());
    return inner == 1 ? order::chunks(n, order::reduce_chunk) : terms(n);
  }
  return 0;
}

Case random_case(op::Kind kind, std::mt19937_64& rng, const Edges& edges) {
  const bool heavy = std::uniform_int_distribution<int>(0, 19)(rng) == 0;
  std::uniform_real_distribution<double> share;
  const Wish wish{share(rng) < 0.18, linear(kind) && share(rng) < 0.35};
  // What is too large is drawn again, with the same wish; a case that aims at an edge and finds none as well, for a while.
  for (int attempt = 0;; ++attempt) {
    Draw d(rng, edges);
    Case c = draw_case(kind, d, wish);
    if (!small_enough(c, heavy ? 20e6 : 2e6)) continue;
    c.near_edge = near_edge(c, edges);
    if (d.aims() && !c.near_edge && attempt < 20) continue;
    c.integers = wish.integers;
    return c;
  }
}

}  // namespace tenon::tests
