// A linear congruential generator: megabytes of operands cost less than the kernels that read them.
#include "lib/runtime/scratch_operands.hpp"

#include <algorithm>

namespace tenon {
namespace {

class Draw {
 public:
  std::uint32_t bits() {  // 24 of them: the lower ones of such a generator are poor
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }
  /// In [0, 1).
  float unit() { return static_cast<float>(bits()) * 0x1p-24f; }
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(bits()) % std::max<std::int64_t>(bound, 1);
  }
  bool happens(double share) { return unit() < static_cast<float>(share); }

 private:
  std::uint32_t state_ = 7;
};

constexpr double alive_mask = 0.25, alive_relu = 0.5;

/// Operands whose values have to mean something; all others keep what fill() drew.
class Meaning {
 public:
  Meaning(std::vector<Array>& in, Draw& draw) : in_(in), draw_(draw) {}

  void operator()(const op::SoftmaxCrossEntropy&) const { classes(in_[1], in_[0].shape()[-1]); }
  void operator()(const op::SoftmaxCrossEntropyGrad&) const { classes(in_[2], in_[1].shape()[-1]); }
  void operator()(const op::Correct&) const { classes(in_[1], in_[0].shape()[-1]); }
  void operator()(const op::Gather&) const { classes(in_[1], in_[0].shape()[0]); }
  void operator()(const op::GatherGrad& o) const { classes(in_[1], o.rows); }
  void operator()(const op::BinaryCrossEntropy&) const { probabilities(in_[0]), probabilities(in_[1]); }
  void operator()(const op::BinaryCrossEntropyGrad&) const { probabilities(in_[1]), probabilities(in_[2]); }
  void operator()(const op::SigmoidCrossEntropy&) const { probabilities(in_[1]); }
  void operator()(const op::SigmoidCrossEntropyGrad&) const { probabilities(in_[2]); }
  void operator()(const op::Unary& o) const { domain(o.fn, in_[0]); }
  void operator()(const op::UnaryGrad& o) const {
    domain(o.forward.fn, in_[1]);
    if (o.forward.fn == op::UnaryFn::relu)
      for (float& y : floats(in_[1])) y = std::max(y, 0.f);
  }
  void operator()(const op::DropoutGrad& o) const {
    for (std::uint8_t& kept : in_[1].values<std::uint8_t>()) kept = draw_.happens(1 - o.rate) ? 1 : 0;
  }
  void operator()(const op::Pool2dGrad& o) const {
    if (o.forward.fn == op::PoolFn::max) winners(o);
  }
  void operator()(const op::ReduceSelectGrad& o) const {
    // The extreme of each group stands in its middle.
    const Shape& x = in_[1].shape();
    const std::int64_t outer = x.product(0, o.forward.axis),
                       n = x.product(o.forward.axis, o.forward.axis + o.forward.count);
    const std::int64_t inner = x.product(o.forward.axis + o.forward.count, x.rank());
    const float extreme = o.forward.fn == op::ReduceFn::min ? -2.f : 2.f;
    const auto values = floats(in_[1]);
    for (std::int64_t i = 0; i < outer; ++i)
      for (std::int64_t k = 0; k < inner && n > 0; ++k)
        values[static_cast<std::size_t>((i * n + n / 2) * inner + k)] = extreme;
    std::ranges::fill(floats(in_[2]), extreme);
  }
  void operator()(const auto&) const {}

 private:
  static std::span<float> floats(Array& a) { return a.dtype() == DType::f32 ? a.values<float>() : std::span<float>{}; }

  /// Labels or ids below `bound`; of floats, rows with a 1 at the label.
  void classes(Array& a, std::int64_t bound) const {
    if (a.dtype() == DType::u8) {
      for (std::uint8_t& v : a.values<std::uint8_t>())
        v = static_cast<std::uint8_t>(draw_.below(std::min<std::int64_t>(bound, 256)));
    } else if (a.dtype() == DType::i32) {
      for (std::int32_t& v : a.values<std::int32_t>()) v = static_cast<std::int32_t>(draw_.below(bound));
    } else {
      const auto values = floats(a);
      std::ranges::fill(values, 0.f);
      const auto row = static_cast<std::size_t>(std::max<std::int64_t>(bound, 1));
      for (std::size_t first = 0; first + row <= values.size(); first += row)
        values[first + static_cast<std::size_t>(draw_.below(bound))] = 1.f;
    }
  }
  /// Away from 0 and 1.
  void probabilities(Array& a) const {
    for (float& v : floats(a)) v = 0.02f + 0.96f * draw_.unit();
  }
  void domain(op::UnaryFn fn, Array& a) const {
    if (fn == op::UnaryFn::log || fn == op::UnaryFn::sqrt) probabilities(a);
  }
  /// The offset in its window of a tap that lies inside the image.
  void winners(const op::Pool2dGrad& o) const {
    const Shape& y = in_[1].shape();
    const op::Pool2d& p = o.forward;
    const auto tap = [&](std::int64_t position, std::int32_t stride, std::int32_t pad, std::int32_t window,
                         std::int32_t extent) {
      const std::int64_t start = position * stride - pad, first = std::max<std::int64_t>(-start, 0);
      return first + draw_.below(std::min<std::int64_t>(window, extent - start) - first);
    };
    const auto found = in_[1].values<std::int32_t>();
    for (std::int64_t i = 0; i < in_[1].size(); ++i) {
      const std::int64_t column = i / y[3] % y[2], row = i / y[3] / y[2] % y[1];
      found[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>(tap(row, p.stride.h, p.pad.top, p.window.h, o.h) * p.window.w +
                                    tap(column, p.stride.w, p.pad.left, p.window.w, o.w));
    }
  }

  std::vector<Array>& in_;
  Draw& draw_;
};

}  // namespace

const op::Epilogue* gate_of(const op::AnyOp& any) {
  const op::Epilogue* e = nullptr;
  if (const auto* g = std::get_if<op::Conv2dGradInput>(&any)) e = &g->forward.epilogue;
  if (const auto* g = std::get_if<op::Conv2dGradFilter>(&any)) e = &g->forward.epilogue;
  if (const auto* g = std::get_if<op::MatMulGradA>(&any)) e = &g->forward.epilogue;
  if (const auto* g = std::get_if<op::MatMulGradB>(&any)) e = &g->forward.epilogue;
  return e != nullptr && e->gradient_reads_saved() ? e : nullptr;
}

double alive_share(const op::AnyOp& any, double pooled) {
  const op::Epilogue* e = gate_of(any);
  if (e == nullptr) return 1;
  if (e->pool) return std::min(pooled, 0.25);
  if (e->saves_mask()) return alive_mask;
  return e->activation == op::UnaryFn::relu ? alive_relu : 1;
}

void draw_saved(const op::AnyOp& any, Array& saved, double pooled) {
  const op::Epilogue* e = gate_of(any);
  if (e == nullptr) return;
  Draw draw;
  const double share = alive_share(any, pooled);
  if (e->saves_mask()) {
    // A pooled byte stands for four elements of which one can be alive.
    const double lives = e->pool ? 4 * share : share;
    for (std::uint8_t& byte : saved.values<std::uint8_t>())
      byte = !draw.happens(lives) ? op::Epilogue::killed : static_cast<std::uint8_t>(e->pool ? draw.below(4) : 0);
  } else if (saved.dtype() == DType::f32) {
    for (float& y : saved.values<float>()) y = draw.happens(share) ? 0.1f + 0.9f * draw.unit() : 0.f;
  }
}

std::vector<Array> scratch_operands(const op::AnyOp& any, const std::vector<TensorSpec>& in) {
  Draw draw;
  std::vector<Array> operands;
  for (const TensorSpec& spec : in) {
    operands.emplace_back(spec);
    if (spec.dtype != DType::f32) continue;
    for (float& v : operands.back().values<float>()) v = 2 * draw.unit() - 1;
  }
  std::visit(Meaning(operands, draw), any);
  if (gate_of(any) != nullptr) draw_saved(any, operands[2]);
  return operands;
}

}  // namespace tenon
