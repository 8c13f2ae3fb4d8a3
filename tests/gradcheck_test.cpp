// The checks that users are given are themselves shown faults: gradcheck wrong gradients and kinks, check_providers
// wrong kernels.
#include "tenon/gradcheck.hpp"

#include <span>
#include <string>
#include <vector>

#include "tenon/custom_op.hpp"
#include "tenon/graph.hpp"
#include "tenon/ops.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/random_array.hpp"

namespace tenon {
namespace {

using test::random;

/// y = x^2 with a gradient that is off by a factor, on the first element only where `first`.
CustomFunction squared(double factor, bool first = false) {
  return define_op({.name = "squared",
                    .infer = same_shape,
                    .vjp =
                        [=](const CustomVjp& v) {
                          Array slope(DType::f64, v.inputs[0].shape());
                          for (double& s : slope.values<double>()) s = 2 * (first ? 1 : factor);
                          slope.values<double>()[0] = 2 * factor;
                          return std::vector<Tensor>{v.grads[0] * v.inputs[0] * v.inputs[0].graph().constant(slope)};
                        },
                    .reference =
                        [](std::span<const std::span<const double>> in, std::span<const std::span<double>> out) {
                          for (std::size_t i = 0; i < in[0].size(); ++i) out[0][i] = in[0][i] * in[0][i];
                        },
                    .kernels = {}});
}

}  // namespace

TEST_CASE("gradcheck finds wrong gradients and reports kinks", "[gradients][gradcheck]") {
  const std::vector<Array> x{random({40}, 3, 0.5, 2)};
  CHECK(gradcheck(squared(1), x).ok);
  CHECK(gradcheck(squared(1), x).checked == 40 + 16);
  const GradReport off = gradcheck(squared(1 + 1e-6), x);
  CHECK_FALSE(off.ok);
  CHECK(off.worst > 5e-7);
  CHECK(off.worst < 2e-6);
  const GradReport one = gradcheck(squared(0, true), x);
  CHECK_FALSE(one.ok);
  CHECK(one.text.find("(0)") != std::string::npos);
  // Directions see what the sampled coordinates miss.
  CHECK_FALSE(gradcheck(squared(-1), x, {.max_coordinates = 0}).ok);
  CHECK_FALSE(gradcheck(squared(1), x, {.max_coordinates = 0, .directions = 0}).ok);

  SECTION("a kink is skipped, counted and named") {
    Array at = random({100}, 4, 0.5, 1);
    at.values<double>()[17] = 0;
    const GradReport r = gradcheck([](Tensor t) { return relu(t); }, {at});
    INFO(r.text);
    CHECK(r.ok);
    CHECK(r.skipped == 1);
    CHECK(r.checked == 99 + 16);
    CHECK(r.text.find("skipped at kinks: (17)") != std::string::npos);
  }
  SECTION("near a kink smaller steps decide") {
    Array at = random({20}, 4, 0.5, 1);
    at.values<double>()[3] = 5e-4;
    const GradReport r = gradcheck([](Tensor t) { return relu(t); }, {at});
    CHECK(r.ok);
    CHECK(r.skipped == 0);
  }
  SECTION("too many kinks fail") {
    Array at = random({20}, 4, 0.5, 1);
    for (std::size_t i = 0; i < 4; ++i) at.values<double>()[i] = 0;
    const GradReport r = gradcheck([](Tensor t) { return relu(t); }, {at});
    CHECK_FALSE(r.ok);
    CHECK(r.skipped == 4);
  }
  SECTION("a function of no input, or one that does not depend on it") {
    const GradReport r = gradcheck([](Tensor a, Tensor) { return square(a); }, {x[0], x[0]});
    CHECK(r.ok);
    const GradReport hidden =
        gradcheck(define_op({.name = "forgetful",
                             .infer = same_shape,
                             .vjp = [](const CustomVjp&) { return std::vector<Tensor>{Tensor{}}; },
                             .reference = squared(1).definition().reference,
                             .kernels = {}}),
                  x);
    CHECK_FALSE(hidden.ok);
  }
}

namespace {
template <int wrong_element>
void square_kernel(const Call& call) {
  const auto n = state_of<std::int64_t>(call);
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = static_cast<const float*>(call.in[0])[i];
    static_cast<float*>(call.out[0])[i] = v * v;
  }
  if (wrong_element >= 0) static_cast<float*>(call.out[0])[wrong_element] = 1.0001f;
}
template <int wrong_element>
Bound bind_square(const Problem& p, const Kernel&) {
  if (p.in[0].dtype != DType::f32) return Refusal{"expects f32"};
  if (p.in[0].shape.rank() != 1) return Refusal{"expects one axis"};
  return make_step(square_kernel<wrong_element>, p.in[0].shape.elements());
}
CustomFunction with_kernel(Bound (*bind)(const Problem&, const Kernel&)) {
  CustomDef def = squared(1).definition();
  def.kernels = {{"user.cpu", bind}};
  return define_op(def);
}
}  // namespace

TEST_CASE("check_providers compares a user's kernels with the definition", "[gradients][gradcheck]") {
  const std::vector<TensorSpec> in{{DType::f32, {33}}};
  const ProviderReport good = check_providers(with_kernel(bind_square<-1>), in);
  INFO(good.text);
  CHECK(good.ok);
  REQUIRE(good.rows.size() >= 2);
  CHECK(good.rows[0].provider == "user.cpu");
  CHECK(good.rows[0].worst > 0);
  CHECK(good.rows[0].worst < 1);
  CHECK_FALSE(check_providers(with_kernel(bind_square<7>), in).ok);
  const ProviderReport overrun = check_providers(with_kernel(bind_square<33>), in);  // behind the end
  CHECK_FALSE(overrun.ok);
  CHECK(overrun.rows[0].fault == "wrote outside operand 1");
  const ProviderReport refused = check_providers(with_kernel(bind_square<-1>), {{DType::f32, {3, 11}}});
  CHECK(refused.ok);
  CHECK(refused.rows[0].refusal == "expects one axis");
}

TEST_CASE("check_providers runs every operation of a function on every row", "[gradients][gradcheck]") {
  const auto f32 = [](const Array& a) { return a.to(DType::f32); };
  const ProviderReport r = check_providers([](Tensor x, Tensor f) { return softmax(flatten(relu(conv2d(x, f)))); },
                                           {f32(random({2, 6, 6, 3})), f32(random({3, 3, 3, 5}, 2))});
  INFO(r.text);
  CHECK(r.ok);
  CHECK(r.text.find("conv2d_grad_filter") != std::string::npos);
  CHECK(r.text.find("reference") != std::string::npos);
}

}  // namespace tenon
