// The pointwise functions and elementwise losses of kernels/common: gradients against central differences in double,
// float against double, NaN through everything, and the corners that cancel or overflow.
#include <cmath>
#include <limits>

#include "kernels/common/elementwise_loss.hpp"
#include "kernels/common/pointwise.hpp"
#include "tests/support/catch.hpp"

namespace {

using tenon::math::Scalar;
using tenon::math::ScalarF64;
using tenon::op::UnaryFn;
constexpr UnaryFn all[] = {UnaryFn::identity, UnaryFn::relu,    UnaryFn::leaky_relu, UnaryFn::elu,    UnaryFn::gelu,
                           UnaryFn::silu,     UnaryFn::sigmoid, UnaryFn::tanh,       UnaryFn::affine, UnaryFn::exp,
                           UnaryFn::log,      UnaryFn::sqrt,    UnaryFn::square,     UnaryFn::abs};
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();

template <class M, class T>
T value(UnaryFn fn, T x) {
  T y{};
  tenon::pointwise::with_unary<M>(fn, 0.3f, -0.7f, [&](const auto& f) { y = f.value(x); });
  return y;
}
template <class M, class T>
T gradient(UnaryFn fn, T g, T x) {
  const T saved = tenon::op::unary_gradient_reads_output(fn) ? value<M>(fn, x) : x;
  T gx{};
  tenon::pointwise::with_unary<M>(fn, 0.3f, -0.7f, [&](const auto& f) { gx = f.gradient(g, saved); });
  return gx;
}
bool positive_only(UnaryFn fn) { return fn == UnaryFn::log || fn == UnaryFn::sqrt; }

template <class F>
double slope(F f, double x) {
  const double h = 1e-6;
  return (f(x + h) - f(x - h)) / (2. * h);
}

}  // namespace

TEST_CASE("unary gradients are the slopes of their functions", "[pointwise]") {
  for (const UnaryFn fn : all) {
    for (const double x : {-4., -1.3, -0.2, 0.1, 0.9, 3.7}) {
      if (x < 0. && positive_only(fn)) continue;
      const double expected = 2.5 * slope([&](double at) { return value<ScalarF64>(fn, at); }, x);
      CAPTURE(static_cast<int>(fn), x);
      CHECK(gradient<ScalarF64>(fn, 2.5, x) == Approx(expected).epsilon(1e-7).margin(1e-8));
    }
  }
}

TEST_CASE("unary functions agree in float and double", "[pointwise]") {
  for (const UnaryFn fn : all) {
    for (int i = -400; i <= 400; ++i) {
      const float x = 0.021f * static_cast<float>(i);
      if (x <= 0.f && positive_only(fn)) continue;
      const double wide = static_cast<double>(x);
      CAPTURE(static_cast<int>(fn), x);
      CHECK(static_cast<double>(value<Scalar>(fn, x)) == Approx(value<ScalarF64>(fn, wide)).epsilon(5e-7).margin(3e-7));
      CHECK(static_cast<double>(gradient<Scalar>(fn, 1.f, x)) ==
            Approx(gradient<ScalarF64>(fn, 1., wide)).epsilon(1e-6).margin(1e-6));
    }
  }
}

TEST_CASE("NaN goes through every unary value and every live gradient", "[pointwise]") {
  for (const UnaryFn fn : all) {
    CAPTURE(static_cast<int>(fn));
    CHECK(std::isnan(value<Scalar>(fn, not_a_number)));
    CHECK(std::isnan(gradient<Scalar>(fn, not_a_number, 1.5f)));
  }
  // Gates: NaN takes the live side, so the gradient behind it is not lost.
  tenon::pointwise::with_unary<Scalar>(UnaryFn::relu, 0.f, 0.f,
                                       [](const auto& f) { CHECK(f.gradient(3.f, not_a_number) == 3.f); });
  CHECK(gradient<Scalar>(UnaryFn::relu, not_a_number, -1.f) == 0.f);  // dead, whatever the gradient is
  CHECK(gradient<Scalar>(UnaryFn::relu, 3.f, 0.f) == 0.f);
  CHECK(gradient<Scalar>(UnaryFn::abs, infinity, 0.f) == 0.f);
  CHECK(std::isnan(gradient<Scalar>(UnaryFn::abs, 1.f, not_a_number)));
}

TEST_CASE("elu does not cancel near 0", "[pointwise]") {
  for (const float x : {-1e-3f, -1e-6f, -1e-20f, -1e-40f}) {
    const double expected = 0.3f * std::expm1(static_cast<double>(x));
    CHECK(static_cast<double>(value<Scalar>(UnaryFn::elu, x)) == Approx(expected).epsilon(2e-7).margin(2e-45));
  }
}

TEST_CASE("sigmoid cross-entropy is stable and its gradient is its slope", "[pointwise]") {
  const tenon::pointwise::SigmoidCrossEntropy<Scalar> loss;
  const tenon::pointwise::SigmoidCrossEntropy<ScalarF64> wide;
  for (const float x : {-100.f, -20.f, -1.f, 0.f, 0.5f, 20.f, 100.f}) {
    for (const float t : {0.f, 0.3f, 1.f}) {
      const double p = static_cast<double>(x), q = static_cast<double>(t);
      // ln(1 + e^x) - x t, in the form that suits the sign of x.
      const double expected = x < 0.f ? std::log1p(std::exp(p)) - p * q : std::log1p(std::exp(-p)) + p * (1. - q);
      CAPTURE(x, t);
      CHECK(static_cast<double>(loss.value(x, t)) == Approx(expected).epsilon(1e-6).margin(1e-44));
      CHECK(wide.gradient(2., p, q) ==
            Approx(2. * slope([&](double at) { return wide.value(at, q); }, p)).margin(1e-7));
    }
  }
  CHECK(std::isnan(loss.value(not_a_number, 1.f)));
  CHECK(std::isnan(loss.gradient(1.f, not_a_number, 1.f)));
}

TEST_CASE("binary cross-entropy clips, and its gradient is its slope", "[pointwise]") {
  const tenon::pointwise::BinaryCrossEntropy<Scalar> loss{1e-7f};
  const tenon::pointwise::BinaryCrossEntropy<ScalarF64> wide{1e-7f};
  for (const double p : {0.01, 0.4, 0.99}) {
    for (const double t : {0., 0.3, 1.}) {
      CHECK(wide.value(p, t) == Approx(-(t * std::log(p) + (1. - t) * std::log1p(-p))));
      CHECK(wide.gradient(2., p, t) ==
            Approx(2. * slope([&](double at) { return wide.value(at, t); }, p)).epsilon(1e-6));
    }
  }
  CHECK(loss.value(0.f, 0.f) == Approx(1e-7f).margin(1e-7));
  CHECK(loss.value(0.f, 1.f) == Approx(-std::log(1e-7)));
  CHECK(std::isfinite(loss.value(1.f, 0.f)));
  for (const float p : {0.f, 1.f, -3.f, 2.f}) CHECK(loss.gradient(1.f, p, 0.5f) == 0.f);
  CHECK(std::isnan(loss.value(not_a_number, 1.f)));
  CHECK(std::isnan(loss.gradient(1.f, not_a_number, 1.f)));
}
