// Operands: random or integer values, labels, and the saved values of gradient operations.
#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/train/row_check.hpp"
#include "tenon/error.hpp"
#include "tests/cases.hpp"

namespace tenon::tests {
namespace {

using Rng = std::mt19937_64;

void fill_integers(std::span<float> values, Rng& rng) {
  // At most one in ten is 0, so that a lost term shows.
  std::uniform_int_distribution<int> draw(-3, 3), rare(0, 9);
  for (float& v : values) {
    int i = draw(rng);
    if (i == 0 && rare(rng) != 0) i = 2;
    v = static_cast<float>(i);
  }
}

void fill_rows(Array& a, Rng& rng) {
  std::uniform_real_distribution<float> draw(0.05f, 1.f);
  const auto columns = static_cast<std::size_t>(a.shape()[-1]);
  auto v = a.values<float>();
  for (std::size_t first = 0; first < v.size(); first += columns) {
    float sum = 0;
    for (std::size_t i = first; i < first + columns; ++i) sum += v[i] = draw(rng);
    for (std::size_t i = first; i < first + columns; ++i) v[i] /= sum;
  }
}

void fill_labels(Array& a, std::int64_t bound, Rng& rng) {
  std::uniform_int_distribution<std::int64_t> draw(0, bound - 1);
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const std::int64_t label = draw(rng);
    if (a.dtype() == DType::u8)
      a.values<std::uint8_t>()[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(label);
    else
      a.values<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(label);
  }
}

Array filled(const TensorSpec& spec, const Fill& fill, bool integers, Rng& rng) {
  Array a(spec);
  if (fill.kind == Fill::Kind::labels) {
    fill_labels(a, fill.bound, rng);
  } else if (fill.kind == Fill::Kind::distribution) {
    fill_rows(a, rng);
  } else if (fill.kind == Fill::Kind::uniform && integers) {
    fill_integers(a.values<float>(), rng);
  } else if (fill.kind == Fill::Kind::uniform) {
    std::uniform_real_distribution<double> draw(fill.low, fill.high);
    for (float& v : a.values<float>()) v = static_cast<float>(draw(rng));
  }
  return a;
}

/// What the forward operation saves, for the gradient operation of a case.
class Saved {
 public:
  Saved(const Case& c, std::vector<Array>& in, Rng& rng, std::uint64_t seed)
      : case_(c), in_(in), rng_(rng), control_(make_control(seed)) {}

  void operator()(const op::Conv2dGradInput& o) {
    const Shape& filter = in_[1].shape();
    contraction(o.forward, fresh({in_[0].shape()[0], o.h, o.w, filter[2] * o.forward.groups}), in_[1]);
  }
  void operator()(const op::Conv2dGradFilter& o) {
    const Shape &x = in_[1].shape(), &gy = in_[0].shape();
    contraction(o.forward, in_[1], fresh({o.kernel.h, o.kernel.w, x[3] / o.forward.groups, gy[3]}));
  }
  void operator()(const op::MatMulGradA& o) {
    const std::int64_t m = in_[0].shape()[0], k = in_[1].shape()[o.forward.transpose_b ? 1 : 0];
    contraction(o.forward, fresh(o.forward.transpose_a ? Shape{k, m} : Shape{m, k}), in_[1]);
  }
  void operator()(const op::MatMulGradB& o) {
    const std::int64_t n = in_[0].shape()[1], k = in_[1].shape()[o.forward.transpose_a ? 0 : 1];
    contraction(o.forward, in_[1], fresh(o.forward.transpose_b ? Shape{n, k} : Shape{k, n}));
  }
  void operator()(const op::Pool2dGrad& o) {
    const Shape& gy = in_[0].shape();
    in_[1] = forward(o.forward, {fresh({gy[0], o.h, o.w, gy[3]})}, 1);
  }
  void operator()(const op::UnaryGrad& o) {
    const Array x =
        filled(case_.in[1], case_.fill[1].kind == Fill::Kind::saved ? range_of(o.forward.fn) : case_.fill[1],
               case_.integers, rng_);
    in_[1] = op::unary_gradient_reads_output(o.forward.fn) ? forward(o.forward, {x}, 0) : x;
  }
  void operator()(const op::SoftmaxGrad& o) {
    in_[1] = forward(op::Softmax{o.log}, {fresh(in_[1].shape(), {.low = -3, .high = 3})}, 0);
  }
  void operator()(const op::SoftmaxCrossEntropyGrad&) {
    in_[1] = forward(op::SoftmaxCrossEntropy{}, {fresh(in_[1].shape(), {.low = -3, .high = 3}), in_[2]}, 1);
  }
  void operator()(const op::DropoutGrad& o) { in_[1] = forward(op::Dropout{o.rate, 1}, {fresh(in_[0].shape())}, 1); }
  void operator()(const op::ReduceSelectGrad& o) { in_[2] = forward(o.forward, {in_[1]}, 0); }
  void operator()(const auto& o) { throw UsageError("[cases] " + std::string(o.name) + " saves nothing"); }

 private:
  static Fill range_of(op::UnaryFn fn) {
    return fn == op::UnaryFn::log || fn == op::UnaryFn::sqrt ? Fill{.low = 0.1, .high = 2} : Fill{.low = -3, .high = 3};
  }
  Array fresh(const Shape& shape, const Fill& fill = {}) {
    return filled({DType::f32, shape}, fill, case_.integers, rng_);
  }
  Array forward(const op::AnyOp& any, const std::vector<Array>& in, std::size_t output) {
    return run_reference(any, in, control_).out[output];
  }

  template <class Contraction>
  void contraction(const Contraction& c, const Array& x, const Array& weights) {
    std::vector<Array> in{x, weights};
    if (c.epilogue.bias) in.push_back(fresh({in_[0].shape()[-1]}));
    in_[2] = forward(c, in, c.epilogue.saves_mask() ? 1 : 0);
  }

  const Case& case_;
  std::vector<Array>& in_;
  Rng& rng_;
  Control control_;
};

}  // namespace

std::vector<Array> make_inputs(const Case& c, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<Array> in;
  bool saved = false;
  for (std::size_t i = 0; i < c.in.size(); ++i) {
    saved = saved || c.fill[i].kind == Fill::Kind::saved;
    in.push_back(filled(c.in[i], c.fill[i], c.integers, rng));
  }
  if (saved) std::visit(Saved(c, in, rng, seed), c.op);
  return in;
}

Control make_control(std::uint64_t seed) {
  Control c;
  c.seed = seed * 0x9E3779B97F4A7C15ULL;
  c.epoch = static_cast<std::uint32_t>(seed % 5);
  c.step = static_cast<std::uint32_t>(seed % 1000);
  c.updates = static_cast<std::uint32_t>(seed % 7);
  c.lr = 0.25f;
  c.micro = static_cast<std::uint32_t>(seed % 3);
  return c;
}

}  // namespace tenon::tests
