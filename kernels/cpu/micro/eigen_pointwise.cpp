// Elementwise work as Eigen array expressions over blocks of 4096 elements: bias, unary functions and their gradients,
// dropout, the elementwise losses; and binary functions over rows with strides 1 or 0. Formulas and the treatment of
// NaN are those of kernels/common/pointwise.hpp and elementwise_loss.hpp; exp, log and tanh are Eigen's. Threads own
// blocks.
#include "kernels/common/philox.hpp"
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

// Expressions hold maps and other expressions by value, so returning them is safe; they must not hold an Array.
template <class X>
TENON_INLINE auto constant_like(const X& x, float value) {
  return Array::Constant(x.size(), value);
}
/// max(x, value) and min(x, value) in which a NaN of x stays.
template <class X>
TENON_INLINE auto at_least(const X& x, float value) {
  return x.binaryExpr(constant_like(x, value), Larger());
}
template <class X>
TENON_INLINE auto at_most(const X& x, float value) {
  return x.binaryExpr(constant_like(x, value), Smaller());
}
template <class X>
TENON_INLINE auto sigmoid_of(const X& x) {
  return ((-x).exp() + 1.f).inverse();
}
/// (1 + erf(x / sqrt 2)) / 2 = erfc(-x / sqrt 2) / 2, from the C library, because Eigen's core has neither.
template <class X>
TENON_INLINE auto normal_distribution(const X& x) {
  return x.unaryExpr([](float v) { return 0.5f * __builtin_erfcf(v * -0.70710678f); });
}

template <class F>
TENON_INLINE void map_one(const Call& call, std::int64_t n, const F& f) {
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  for_each_block(call, n, [&](std::int64_t i, std::int64_t count) { Out(y + i, count) = f(In(x + i, count)); });
}
template <class F>
TENON_INLINE void map_two(const Call& call, std::int64_t n, const F& f) {
  const float *a = input<float>(call, 0), *b = input<float>(call, 1);
  float* y = output<float>(call, 0);
  for_each_block(
      call, n, [&](std::int64_t i, std::int64_t count) { Out(y + i, count) = f(In(a + i, count), In(b + i, count)); });
}
template <class F>
TENON_INLINE void map_three(const Call& call, std::int64_t n, const F& f) {
  const float *a = input<float>(call, 0), *b = input<float>(call, 1), *c = input<float>(call, 2);
  float* y = output<float>(call, 0);
  for_each_block(call, n, [&](std::int64_t i, std::int64_t count) {
    Out(y + i, count) = f(In(a + i, count), In(b + i, count), In(c + i, count));
  });
}

/// Rows of the innermost axis, cut into pieces; either operand is contiguous or one value along it.
template <class F>
void binary_rows(const Call& call, const BinaryGeometry& g, const F& f) {
  constexpr std::int64_t most = 16384;
  const std::int32_t last = g.rank - 1;
  const std::int64_t n = g.extent[last], pieces = blocks_of(n, most);
  std::int64_t rows = 1;
  for (std::int32_t axis = 0; axis < last; ++axis) rows *= g.extent[axis];
  const float *a = input<float>(call, 0), *b = input<float>(call, 1);
  float* y = output<float>(call, 0);
  parallel_for(threads_for(call, rows * n), rows * pieces, [&](std::int64_t item) {
    const std::int64_t begin = item % pieces * most, count = smaller(most, n - begin);
    const float *left = a + begin * g.stride_a[last], *right = b + begin * g.stride_b[last];
    std::int64_t rest = item / pieces;
    Out out(y + rest * n + begin, count);
    for (std::int32_t axis = last - 1; axis >= 0; --axis) {
      left += rest % g.extent[axis] * g.stride_a[axis];
      right += rest % g.extent[axis] * g.stride_b[axis];
      rest /= g.extent[axis];
    }
    const bool spread_left = g.stride_a[last] == 0, spread_right = g.stride_b[last] == 0;
    if (spread_left && spread_right)
      out = f(constant_like(out, *left), constant_like(out, *right));
    else if (spread_left)
      out = f(constant_like(out, *left), In(right, count));
    else if (spread_right)
      out = f(In(left, count), constant_like(out, *right));
    else
      out = f(In(left, count), In(right, count));
  });
}

}  // namespace

void bias_add(const Call& call) {
  const auto& g = geometry<BiasGeometry>(call);
  const float *x = input<float>(call, 0), *bias = input<float>(call, 1);
  float* y = output<float>(call, 0);
  const std::int64_t rows = g.n * g.inner;
  if (rows * g.c == 0) return;
  const std::int64_t strip = blocks_of(block, g.c);
  parallel_for(threads_for(call, rows * g.c), blocks_of(rows, strip), [&](std::int64_t s) {
    const std::int64_t begin = s * strip, count = smaller(strip, rows - begin);
    out_matrix(y + begin * g.c, count, g.c, g.c) =
        in_matrix(x + begin * g.c, count, g.c, g.c).rowwise() + in_matrix(bias, 1, g.c, g.c).row(0);
  });
}

void unary(const Call& call) {
  const auto& g = geometry<UnaryGeometry>(call);
  const float alpha = g.alpha, beta = g.beta;
  switch (g.fn) {
    case op::UnaryFn::identity:
      return map_one(call, g.n, [](In x) { return x; });
    case op::UnaryFn::relu:
      return map_one(call, g.n, [](In x) { return at_least(x, 0.f); });
    case op::UnaryFn::leaky_relu:
      return map_one(call, g.n, [=](In x) { return (x <= 0.f).select(alpha * x, x); });
    case op::UnaryFn::elu:
      return map_one(call, g.n, [=](In x) { return (x <= 0.f).select(alpha * at_most(x, 0.f).expm1(), x); });
    case op::UnaryFn::gelu:
      return map_one(call, g.n, [](In x) { return x * normal_distribution(x); });
    case op::UnaryFn::silu:
      return map_one(call, g.n, [](In x) { return x * sigmoid_of(x); });
    case op::UnaryFn::sigmoid:
      return map_one(call, g.n, [](In x) { return sigmoid_of(x); });
    case op::UnaryFn::tanh:
      return map_one(call, g.n, [](In x) { return x.tanh(); });
    case op::UnaryFn::affine:
      return map_one(call, g.n, [=](In x) { return alpha * x + beta; });
    case op::UnaryFn::exp:
      return map_one(call, g.n, [](In x) { return x.exp(); });
    case op::UnaryFn::log:
      return map_one(call, g.n, [](In x) { return x.log(); });
    case op::UnaryFn::sqrt:
      return map_one(call, g.n, [](In x) { return x.sqrt(); });
    case op::UnaryFn::square:
      return map_one(call, g.n, [](In x) { return x.square(); });
    case op::UnaryFn::abs:
      return map_one(call, g.n, [](In x) { return x.abs(); });
  }
}

void unary_grad(const Call& call) {
  const auto& g = geometry<UnaryGeometry>(call);
  const float alpha = g.alpha;
  switch (g.fn) {
    case op::UnaryFn::identity:
      return map_two(call, g.n, [](In gy, In) { return gy; });
    case op::UnaryFn::relu:
      return map_two(call, g.n, [](In gy, In y) { return (y <= 0.f).select(0.f, gy); });
    case op::UnaryFn::leaky_relu:
      return map_two(call, g.n, [=](In gy, In y) { return (y <= 0.f).select(alpha * gy, gy); });
    case op::UnaryFn::elu:
      return map_two(call, g.n, [=](In gy, In y) { return (y <= 0.f).select(gy * (y + alpha), gy); });
    case op::UnaryFn::gelu:
      return map_two(call, g.n, [](In gy, In x) {
        return gy * (normal_distribution(x) + x * (-0.5f * x.square()).exp() * 0.39894228f);
      });
    case op::UnaryFn::silu:
      return map_two(call, g.n, [](In gy, In x) { return gy * sigmoid_of(x) * (1.f + x * sigmoid_of(-x)); });
    case op::UnaryFn::sigmoid:
      return map_two(call, g.n, [](In gy, In y) { return gy * (y * (1.f - y)); });
    case op::UnaryFn::tanh:
      return map_two(call, g.n, [](In gy, In y) { return gy * ((1.f - y) * (1.f + y)); });
    case op::UnaryFn::affine:
      return map_two(call, g.n, [=](In gy, In) { return alpha * gy; });
    case op::UnaryFn::exp:
      return map_two(call, g.n, [](In gy, In y) { return gy * y; });
    case op::UnaryFn::log:
      return map_two(call, g.n, [](In gy, In x) { return gy / x; });
    case op::UnaryFn::sqrt:
      return map_two(call, g.n, [](In gy, In y) { return gy / (y + y); });
    case op::UnaryFn::square:
      return map_two(call, g.n, [](In gy, In x) { return gy * (x + x); });
    case op::UnaryFn::abs:
      return map_two(call, g.n, [](In gy, In x) { return (x > 0.f).select(gy, (x < 0.f).select(-gy, x)); });
  }
}

void binary(const Call& call) {
  const auto& g = geometry<BinaryGeometry>(call);
  switch (g.fn) {
    case op::BinaryFn::add:
      return binary_rows(call, g, [](const auto& a, const auto& b) { return a + b; });
    case op::BinaryFn::sub:
      return binary_rows(call, g, [](const auto& a, const auto& b) { return a - b; });
    case op::BinaryFn::mul:
      return binary_rows(call, g, [](const auto& a, const auto& b) { return a * b; });
    case op::BinaryFn::div:
      return binary_rows(call, g, [](const auto& a, const auto& b) { return a / b; });
  }
}

// Blocks begin at multiples of 4, so that each asks for whole groups of Philox words.
void dropout(const Call& call) {
  const auto& g = geometry<DropoutGeometry>(call);
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  auto* mask = output<std::uint8_t>(call, 1);
  const Control& control = *call.control;
  const philox::Key key = philox::key(control.seed, philox::Purpose::dropout);
  const std::uint32_t site = static_cast<std::uint32_t>(g.site), threshold = philox::dropout_threshold(g.rate);
  const float scale = philox::dropout_scale(g.rate);
  for_each_block(call, g.n, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = begin; i < begin + count; i += 8) {
      const auto words = philox::block(key, philox::draw_block(i), site, control.step, control.epoch);
      for (std::int64_t j = i; j < smaller(i + 8, begin + count); ++j)
        mask[j] = philox::draw_of(words, j) >= threshold ? 1 : 0;
    }
    Out(y + begin, count) = (Bytes(mask + begin, count) != 0).select(scale * In(x + begin, count), 0.f);
  });
}

void dropout_grad(const Call& call) {
  const auto& g = geometry<DropoutGeometry>(call);
  const float* gy = input<float>(call, 0);
  const auto* mask = input<std::uint8_t>(call, 1);
  float* gx = output<float>(call, 0);
  const float scale = philox::dropout_scale(g.rate);
  for_each_block(call, g.n, [&](std::int64_t i, std::int64_t count) {
    Out(gx + i, count) = (Bytes(mask + i, count) != 0).select(scale * In(gy + i, count), 0.f);
  });
}

void sigmoid_crossentropy(const Call& call) {
  map_two(call, geometry<LossGeometry>(call).n,
          [](In x, In t) { return at_least(x, 0.f) - x * t + (-x.abs()).exp().log1p(); });
}
void sigmoid_crossentropy_grad(const Call& call) {
  map_three(call, geometry<LossGeometry>(call).n, [](In g, In x, In t) { return (sigmoid_of(x) - t) * g; });
}

void binary_crossentropy(const Call& call) {
  const auto& geo = geometry<LossGeometry>(call);
  const float low = geo.epsilon, high = 1.f - low;
  map_two(call, geo.n, [=](In p, In t) {
    const auto q = at_most(at_least(p, low), high);
    return -(t * q.log() + (1.f - t) * (1.f - q).log());
  });
}
void binary_crossentropy_grad(const Call& call) {
  const auto& geo = geometry<LossGeometry>(call);
  const float low = geo.epsilon, high = 1.f - low;
  map_three(call, geo.n, [=](In g, In p, In t) {
    const auto slope = (p - t) / (p * (1.f - p));
    return (p < low || p > high).select(0.f, slope * g);
  });
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
