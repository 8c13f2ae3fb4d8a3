// Gradients of every operation against f64 differences at 1e-8 or better: the public builders in all their forms, and
// every differentiable case of tests/cases.cpp, which reaches the fused forms that builders do not make. Conventions at
// kinks are pinned by value.
#include <random>

#include "lib/passes/passes.hpp"
#include "lib/runtime/run_graph.hpp"
#include "tenon/error.hpp"
#include "tenon/gradcheck.hpp"
#include "tenon/losses.hpp"
#include "tenon/ops.hpp"
#include "tests/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/random_array.hpp"

namespace tenon {
namespace {

using test::random;

Array labels(const Shape& shape, std::int32_t classes, unsigned seed = 1) {
  std::mt19937_64 rng(seed);
  Array a(DType::i32, shape);
  for (std::int32_t& v : a.values<std::int32_t>())
    v = static_cast<std::int32_t>(rng() % static_cast<unsigned>(classes));
  return a;
}

template <class F>
void expect(const char* what, F f, const std::vector<Array>& inputs) {
  const GradReport r = gradcheck(f, inputs);
  INFO(what << ": " << r.text);
  CHECK(r.ok);
  CHECK(r.worst <= 1e-8);
  CHECK(r.checked > 0);
}

Tensor constant(Tensor like, const Array& a) { return like.graph().constant(a); }

}  // namespace

TEST_CASE("gradients of conv2d in every form", "[gradients]") {
  const auto form = [](const char* what, Conv2dOptions o, const Shape& x, const Shape& filter) {
    expect(what, [o](Tensor a, Tensor f) { return conv2d(a, f, o); }, {random(x), random(filter, 2)});
  };
  form("valid", {}, {2, 5, 6, 3}, {3, 3, 3, 4});
  form("same", {.padding = Padding::same()}, {1, 5, 4, 2}, {3, 3, 2, 3});
  form("same, stride 2", {.stride = {2, 2}, .padding = Padding::same()}, {1, 6, 5, 2}, {3, 2, 2, 3});
  form("explicit padding", {.padding = Padding::of(2, 0, 1, 3)}, {1, 4, 4, 2}, {3, 3, 2, 2});
  form("stride", {.stride = {2, 3}}, {2, 7, 7, 2}, {3, 3, 2, 2});
  form("dilation", {.dilation = {2, 3}}, {1, 7, 8, 2}, {3, 2, 2, 2});
  form("groups", {.padding = Padding::all(1), .groups = 2}, {1, 4, 4, 4}, {3, 3, 2, 4});
  form("depthwise", {.groups = 3}, {2, 4, 4, 3}, {3, 3, 1, 6});
  form("1x1", {}, {2, 3, 3, 5}, {1, 1, 5, 4});
  form("a filter as large as the image", {}, {3, 3, 3, 2}, {3, 3, 2, 4});
}

TEST_CASE("gradients of matmul and bias_add", "[gradients]") {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      expect("matmul", [=](Tensor a, Tensor b) { return matmul(a, b, {.transpose_a = ta, .transpose_b = tb}); },
             {random(ta ? Shape{5, 3} : Shape{3, 5}), random(tb ? Shape{4, 5} : Shape{5, 4}, 2)});
  expect("bias of a matrix", [](Tensor x, Tensor b) { return bias_add(x, b); }, {random({4, 3}), random({3}, 2)});
  expect("bias of images", [](Tensor x, Tensor b) { return bias_add(x, b); }, {random({2, 3, 2, 5}), random({5}, 2)});
}

TEST_CASE("gradients of pooling", "[gradients]") {
  const auto form = [](const char* what, Pool2dOptions o, const Shape& x) {
    expect(what, [o](Tensor a) { return max_pool2d(a, o); }, {random(x)});
    expect(what, [o](Tensor a) { return avg_pool2d(a, o); }, {random(x)});
  };
  form("2x2", {}, {2, 4, 6, 3});
  form("overlapping", {.window = {3, 3}, .stride = {1, 2}}, {1, 5, 5, 2});
  form("same", {.window = {3, 2}, .stride = {2, 2}, .padding = Padding::same()}, {1, 5, 5, 2});
  form("explicit padding", {.window = {3, 3}, .stride = {2, 2}, .padding = Padding::of(1, 2, 2, 0)}, {1, 4, 4, 2});
  form("stride wider than the window", {.window = {1, 2}, .stride = {2, 3}}, {1, 5, 8, 2});
  expect("global maximum", [](Tensor x) { return global_max_pool2d(x); }, {random({2, 3, 4, 3})});
  expect("global mean", [](Tensor x) { return global_avg_pool2d(x); }, {random({2, 3, 4, 3})});
}

TEST_CASE("gradients of activations and pointwise functions", "[gradients]") {
  for (const Activation a : {linear, relu, leaky_relu, leaky_relu.with(0.3f), elu, elu.with(0.5f), gelu, silu, sigmoid,
                             tenon::tanh, softmax, log_softmax})
    expect(a.name(), a, {random({4, 6}, 3, -3, 3)});
  const Array x = random({3, 5}, 4, -2, 2), above = random({3, 5}, 5, 0.2, 3);
  expect("affine", [](Tensor t) { return affine(t, -1.5f, 0.25f); }, {x});
  expect("exp", [](Tensor t) { return exp(t); }, {x});
  expect("log", [](Tensor t) { return log(t); }, {above});
  expect("sqrt", [](Tensor t) { return sqrt(t); }, {above});
  expect("square", [](Tensor t) { return square(t); }, {x});
  expect("abs", [](Tensor t) { return abs(t); }, {x});
  expect("scalars", [](Tensor t) { return 2.f * (1.f - t) / 3.f - (-t) + 0.5f; }, {x});
  for (const int axis : {0, 1, 2})
    expect("softmax over an axis", [axis](Tensor t) { return softmax_over(t, axis); }, {random({3, 4, 2}, 6, -2, 2)});
}

TEST_CASE("gradients of binary functions with broadcasting", "[gradients]") {
  const std::pair<Shape, Shape> shapes[] = {{{2, 3, 4}, {2, 3, 4}}, {{2, 3, 4}, {4}}, {{2, 1, 4}, {3, 1}},
                                            {{}, {2, 3}},           {{3, 1}, {1, 4}}, {{1}, {1}}};
  for (const auto& [a, b] : shapes) {
    const std::vector<Array> in{random(a, 1), random(b, 2, 0.4, 2)};
    expect(
        "add", [](Tensor p, Tensor q) { return p + q; }, in);
    expect(
        "sub", [](Tensor p, Tensor q) { return p - q; }, in);
    expect(
        "mul", [](Tensor p, Tensor q) { return p * q; }, in);
    expect(
        "div", [](Tensor p, Tensor q) { return p / q; }, in);
  }
  expect("an operand used twice", [](Tensor p, Tensor q) { return p * q + p / q - p * p; },
         {random({3}), random({3}, 2, 0.4, 2)});
}

TEST_CASE("gradients of losses", "[gradients]") {
  const Array logits = random({5, 4}, 1, -3, 3), classes = labels({5}, 4);
  Array one_hot(DType::f64, {5, 4}), soft = random({5, 4}, 2, 0.1, 1);
  for (std::int64_t n = 0; n < 5; ++n) {
    one_hot.values<double>()[static_cast<std::size_t>(n * 4) + static_cast<std::size_t>(classes.at(n))] = 1;
    double sum = 0;
    for (std::int64_t c = 0; c < 4; ++c) sum += soft.at(n * 4 + c);
    for (std::int64_t c = 0; c < 4; ++c) soft.values<double>()[static_cast<std::size_t>(n * 4 + c)] /= sum;
  }
  expect("softmax_crossentropy, labels", [&](Tensor x) { return softmax_crossentropy(x, constant(x, classes)); },
         {logits});
  expect("softmax_crossentropy, labels as an input", [](Tensor x, Tensor t) { return softmax_crossentropy(x, t); },
         {logits, classes});
  expect("softmax_crossentropy, one-hot", [&](Tensor x) { return softmax_crossentropy(x, constant(x, one_hot)); },
         {logits});
  expect("softmax_crossentropy, probabilities", [&](Tensor x) { return softmax_crossentropy(x, constant(x, soft)); },
         {logits});
  expect("categorical_crossentropy behind softmax",
         [&](Tensor x) { return categorical_crossentropy(softmax(x), constant(x, classes)); }, {logits});
  expect("categorical_crossentropy of probabilities",
         [&](Tensor p) { return categorical_crossentropy(p, constant(p, soft)); }, {random({5, 4}, 3, 0.1, 0.9)});
  const Array zero_one = random({3, 4}, 4, 0, 1);
  expect("sigmoid_crossentropy", [&](Tensor x) { return sigmoid_crossentropy(x, constant(x, zero_one)); },
         {random({3, 4}, 5, -3, 3)});
  expect("binary_crossentropy", [&](Tensor p) { return binary_crossentropy(p, constant(p, zero_one)); },
         {random({3, 4}, 6, 0.1, 0.9)});
  expect("binary_crossentropy behind sigmoid",
         [&](Tensor x) { return binary_crossentropy(sigmoid(x), constant(x, zero_one)); }, {random({3, 4}, 5, -3, 3)});
  expect("mean_squared_error", [](Tensor y, Tensor t) { return mean_squared_error(y, t); },
         {random({3, 4}), random({3, 4}, 2)});
  expect("weighted sum of two losses",
         [&](Tensor x) { return 0.7f * softmax_crossentropy(x, constant(x, classes)) + 0.3f * mean(square(x)); },
         {logits});
}

TEST_CASE("gradients of shape operations, reductions and dropout", "[gradients]") {
  const Array x = random({2, 3, 4});
  expect("reshape", [](Tensor t) { return reshape(t, {4, -1}); }, {x});
  expect("flatten", [](Tensor t) { return flatten(t); }, {x});
  expect("transpose", [](Tensor t) { return transpose(t, {2, 0, 1}); }, {x});
  expect("concat",
         [](Tensor a, Tensor b, Tensor c) {
           return concat({a, b, c}, 1);
         },
         {x, random({2, 1, 4}, 2), random({2, 2, 4}, 3)});
  expect("concat of one part twice", [](Tensor a) { return concat({a, a}, -1); }, {x});
  expect("slice", [](Tensor t) { return slice(t, -1, 1, 2); }, {x});
  expect("gather", [](Tensor t, Tensor ids) { return gather(t, ids); }, {random({5, 3}), labels({2, 4}, 5)});
  expect("broadcast_to", [](Tensor t) { return broadcast_to(t, {3, 2, 4}); }, {random({2, 1})});
  expect("sum", [](Tensor t) { return sum(t); }, {x});
  expect("mean", [](Tensor t) { return mean(t); }, {x});
  for (const int axis : {0, 1, -1})
    for (const bool keep : {false, true}) {
      expect("sum over an axis", [=](Tensor t) { return sum(t, axis, keep); }, {x});
      expect("mean over an axis", [=](Tensor t) { return mean(t, axis, keep); }, {x});
      expect("max over an axis", [=](Tensor t) { return max(t, axis, keep); }, {x});
      expect("min over an axis", [=](Tensor t) { return min(t, axis, keep); }, {x});
    }
  expect("dropout", [](Tensor t) { return dropout(t, 0.4f); }, {random({6, 5})});
  expect("two dropouts", [](Tensor t) { return dropout(tenon::tanh(dropout(t, 0.3f)), 0.5f); }, {random({6, 5})});
}

TEST_CASE("gradients of a whole network", "[gradients]") {
  const Array target = labels({3}, 4);
  expect("convolutional",
         [&](Tensor x, Tensor f, Tensor b, Tensor w, Tensor c) {
           const Tensor h = max_pool2d(relu(bias_add(conv2d(x, f), b)));
           return softmax_crossentropy(bias_add(matmul(flatten(dropout(h, 0.25f)), w), c), constant(x, target));
         },
         {random({3, 6, 6, 2}), random({3, 3, 2, 3}, 2), random({3}, 3), random({12, 4}, 4), random({4}, 5)});
}

TEST_CASE("gradients of every differentiable case of the list", "[gradients][cases]") {
  int checked = 0;
  for (const tests::Case& c : tests::cases()) {
    const bool differentiable =
        std::visit([](const auto& o) { return op::Differentiable<std::decay_t<decltype(o)>>; }, c.op) &&
        !std::holds_alternative<op::Correct>(c.op);
    if (!differentiable) continue;
    // Targets are constants; the rest are the function's operands.
    const std::vector<Array> all = tests::make_inputs(c, 11);
    std::vector<Array> operands;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (!c.fill[i].constant) operands.push_back(all[i]);
    const GradReport r = gradcheck(
        [&](const std::vector<Tensor>& t) {
          Graph& g = t[0].graph();
          std::vector<ValueId> in;
          std::size_t next = 0;
          for (std::size_t i = 0; i < all.size(); ++i)
            in.push_back(c.fill[i].constant
                             ? g.add_constant(all[i].dtype() == DType::f32 ? all[i].to(DType::f64) : all[i])
                             : t[next++].id());
          return Tensor(&g, g.append(c.op, in)[0]);
        },
        operands);
    INFO(c.name << ": " << r.text);
    CHECK(r.ok);
    CHECK(r.worst <= 1e-8);
    ++checked;
  }
  CHECK(checked > 150);
}

namespace {
/// Gradient of the sum of f at x, by Tenon.
template <class F>
std::vector<double> gradient_of(F f, const Array& x) {
  Graph g;
  g.dtype = DType::f64;
  const Tensor t = g.input("x", x.spec());
  const Tensor y = sum(f(t));
  const Array d = run_graph(g, {differentiate(g, y.id(), {t.id()})[0]}, {x},
                            {.device = "cpu", .providers = "reference", .dtype = DType::f64})[0];
  return {d.values<double>().begin(), d.values<double>().end()};
}
}  // namespace

TEST_CASE("conventions at kinks", "[gradients]") {
  const Array at_zero = Array::of(std::vector<double>{-0.0, 0.0, 1.0, -1.0}, {4});
  CHECK(gradient_of([](Tensor x) { return relu(x); }, at_zero) == std::vector<double>{0, 0, 1, 0});
  CHECK(gradient_of([](Tensor x) { return abs(x); }, at_zero) == std::vector<double>{0, 0, 1, -1});
  CHECK(gradient_of([](Tensor x) { return leaky_relu.with(0.25f)(x); }, at_zero) ==
        std::vector<double>{0.25, 0.25, 1, 0.25});
  // Ties go to the first in row-major order.
  const std::vector<double> tied{1, 3, 3, 3};
  CHECK(gradient_of([](Tensor x) { return max_pool2d(x); }, Array::of(tied, {1, 2, 2, 1})) ==
        std::vector<double>{0, 1, 0, 0});
  CHECK(gradient_of([](Tensor x) { return max(x, 0); }, Array::of(tied, {4})) == std::vector<double>{0, 1, 0, 0});
  CHECK(gradient_of([](Tensor x) { return min(x, 0); }, Array::of(std::vector<double>{2, 1, 1, 3}, {4})) ==
        std::vector<double>{0, 1, 0, 0});
}

TEST_CASE("what has no gradient says so", "[gradients]") {
  SECTION("second order") {
    Graph g;
    g.dtype = DType::f64;
    const Tensor x = g.input("x", {DType::f64, {3}});
    const ValueId first = differentiate(g, sum(tenon::tanh(x)).id(), {x.id()})[0];
    const Tensor again = sum(Tensor(&g, first));
    CHECK_THROWS_AS(differentiate(g, again.id(), {x.id()}), UsageError);
  }
  SECTION("the target of a cross entropy, and a count") {
    const std::vector<Array> in{random({2, 3}), random({2, 3}, 2, 0, 1)};
    CHECK_THROWS_AS(gradcheck([](Tensor x, Tensor t) { return softmax_crossentropy(x, t); }, in), UsageError);
    CHECK_THROWS_AS(gradcheck([](Tensor x, Tensor t) { return accuracy(x, t); }, in), UsageError);
  }
  SECTION("another number of arrays") {
    CHECK_THROWS_AS(gradcheck([](Tensor x) { return relu(x); }, {random({2}), random({2})}), UsageError);
    CHECK_THROWS_AS(gradcheck([](Tensor x) { return relu(x); }, {}), UsageError);
  }
}

}  // namespace tenon
