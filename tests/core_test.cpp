// The mechanisms of the core, one small test each: what a graph can express, what the passes promise, and the plan.
#include "tests/support/catch.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <random>

#include "lib/passes/passes.hpp"
#include "lib/runtime/memory.hpp"
#include "tenon/tenon.hpp"
#include "tests/support/toy.hpp"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("a skip connection adds its gradients", "[core]") {
  const nn::Dense a{.units = 4, .name = "a"}, b{.units = 4, .name = "b"};
  const Model m{[=](Values in) {
    const Tensor h = a(in["x"]);
    return Values{{"y", h + relu(b(h))}};
  }};
  Program p = compile(m, toy_options(4, 4));
  const Batch batch = toy_batch(8, 4, 4);
  const double before = p.step(batch).loss;
  for (int i = 0; i < 50; ++i) (void)p.step(batch);
  CHECK(p.step(batch).loss < 0.5 * before);
}

TEST_CASE("a shared layer has one set of weights and the sum of both gradients", "[core]") {
  const nn::Dense shared{.units = 3, .use_bias = false, .name = "shared"};
  const auto gradient = [&](bool left, bool right) {
    const nn::Dense layer = shared.clone();
    const Model m{[=](Values in) {
      Tensor y = affine(layer(in["l"]), left ? 1.f : 0.f) + affine(layer(in["r"]), right ? 1.f : 0.f);
      return Values{{"y", y}};
    }};
    CompileOptions o = toy_options(0, 3);
    o.inputs = {{"l", {2}}, {"r", {2}}};
    o.run.seed = 5;
    o.loss = [](Values y, Values) { return sum(y["y"]); };
    Program p = compile(m, o);
    CHECK(m.parameters().list().size() == 1);
    Batch b = toy_batch(4, 2, 3);
    b.inputs.push_back(toy_batch(4, 2, 3, 9).inputs[0]);
    (void)p.step(b);
    return p.gradient("dense.kernel");
  };
  const Array both = gradient(true, true), l = gradient(true, false), r = gradient(false, true);
  for (std::int64_t i = 0; i < both.size(); ++i) CHECK(both.at(i) == Approx(l.at(i) + r.at(i)).margin(1e-6));
}

TEST_CASE("two inputs, two weighted losses, metrics by output", "[core]") {
  const nn::Dense encode{.units = 8, .activation = relu, .name = "encode"}, head{.units = 3, .name = "head"};
  const Model m{[=](Values in) {
    const Tensor a = encode(in["left"]), b = encode(in["right"]);
    return Values{{"same", sum(a * b, -1)}, {"class", head(a + b)}};
  }};
  CompileOptions o;
  o.inputs = {{"left", {5}}, {"right", {5}}};
  o.targets = {{"same", {}}, {"class", {}, DType::i32}};
  o.loss = [](Values y, Values t) {
    return .7f * sigmoid_crossentropy(y["same"], t["same"]) + .3f * softmax_crossentropy(y["class"], t["class"]);
  };
  o.optimizer = AdamW{.lr = cosine(1e-2f, 200)};
  o.metrics = {{"class", accuracy}};
  Program p = compile(m, o);
  Batch b;
  b.inputs = {toy_batch(16, 5, 1).inputs[0], toy_batch(16, 5, 1, 7).inputs[0]};
  b.targets = {Array::of(std::vector<float>(16, 1.f), {16}), Array(DType::i32, {16})};
  b.size = 16;
  const double first = p.step(b).loss;
  StepResult r;
  for (int i = 0; i < 100; ++i) r = p.step(b);
  CHECK(r.loss < 0.2 * first);
  REQUIRE(r.metrics.size() == 1);
  CHECK(r.metrics[0].name == "class.accuracy");
  CHECK(r.metrics[0].value == 1.0);
}

TEST_CASE("frozen parameters keep their bits; a pattern that matches nothing is an error", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 6, .activation = relu, .name = "encode"},
                           nn::Dense{.units = 3, .name = "head"}};
  CompileOptions o = toy_options(4, 3);
  o.frozen = {"encode.*"};
  Program p = compile(net, o);
  const Array kernel = net.parameters().get("encode.kernel"), head = net.parameters().get("head.kernel");
  (void)p.step(toy_batch(8, 4, 3));
  CHECK(same_bits(net.parameters().get("encode.kernel"), kernel));
  CHECK_FALSE(same_bits(net.parameters().get("head.kernel"), head));
  o.frozen = {"decoder.*"};
  CHECK_THROWS_WITH(compile(net, o), Catch::Matchers::Contains("[frozen] 'decoder.*' matches none of: encode.kernel"));
}

TEST_CASE("parameter groups scale rate and decay", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 3, .name = "head"}};
  CompileOptions o = toy_options(4, 3);
  o.optimizer = Sgd{.lr = 0.5f};
  o.groups = {{"*.bias", 0.f}, {.match = "*.kernel", .lr_scale = 2.f, .weight_decay = 0.1f}};
  Program p = compile(net, o);
  const Array w = net.parameters().get("head.kernel"), b = net.parameters().get("head.bias");
  (void)p.step(toy_batch(8, 4, 3));
  CHECK(same_bits(net.parameters().get("head.bias"), b));
  const Array g = p.gradient("head.kernel"), after = net.parameters().get("head.kernel");
  for (std::int64_t i = 0; i < w.size(); ++i)
    CHECK(after.at(i) == Approx(w.at(i) - 1.0 * (g.at(i) + 0.1 * w.at(i))).margin(1e-6));
}

TEST_CASE("accumulated micro-batches make the update of their union", "[core]") {
  const auto train = [](int accumulate) {
    const nn::Sequential net{nn::Dense{.units = 3, .name = "head"}};
    CompileOptions o = toy_options(4, 3);
    o.accumulate = accumulate;
    Program p = compile(net, o);
    const Batch all = toy_batch(16, 4, 3);
    if (accumulate == 1) {
      CHECK(p.step(all).updated);
    } else {
      for (int i = 0; i < accumulate; ++i) {
        const std::int64_t n = 16 / accumulate;
        const Batch part{{all.inputs[0].rows(i * n, (i + 1) * n)}, {all.targets[0].rows(i * n, (i + 1) * n)}, n};
        CHECK(p.step(part).updated == (i + 1 == accumulate));
      }
    }
    CHECK(p.updates() == 1);
    return net.parameters().get("head.kernel");
  };
  const Array whole = train(1), parts = train(4);
  for (std::int64_t i = 0; i < whole.size(); ++i) CHECK(parts.at(i) == Approx(whole.at(i)).margin(1e-6));
}

TEST_CASE("clipping bounds the norm of all gradients", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 3, .name = "head"}};
  CompileOptions o = toy_options(4, 3);
  o.optimizer = Sgd{.lr = 1.f};
  o.clip_norm = 0.01f;
  Program p = compile(net, o);
  const Array w = net.parameters().get("head.kernel"), b = net.parameters().get("head.bias");
  (void)p.step(toy_batch(8, 4, 3));
  double norm = 0;
  for (const auto& [before, name] : {std::pair{w, "head.kernel"}, {b, "head.bias"}}) {
    const Array after = net.parameters().get(name);
    for (std::int64_t i = 0; i < before.size(); ++i) norm += std::pow(after.at(i) - before.at(i), 2);
  }
  CHECK(std::sqrt(norm) == Approx(0.01).epsilon(1e-3));
}

TEST_CASE("observed outputs and gradients are read after a step", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 3, .activation = softmax, .name = "head"}};
  CompileOptions o = toy_options(4, 3);
  o.loss = categorical_crossentropy;
  o.observe = {"grad:head.*", "y"};
  Program p = compile(net, o);
  (void)p.step(toy_batch(8, 4, 3));
  const Array y = p.observed("y"), g = p.observed("grad:head.bias");
  CHECK(y.shape() == Shape{8, 3});
  for (int r = 0; r < 8; ++r) CHECK(y.at(r * 3) + y.at(r * 3 + 1) + y.at(r * 3 + 2) == Approx(1.0));
  CHECK(g.at(0) + g.at(1) + g.at(2) == Approx(0.0).margin(1e-6));
  CHECK_THROWS_AS(p.observed("z"), UsageError);
  const nn::Sequential other{nn::Dense{.units = 3}};
  o.observe = {"grad:tail.*"};
  CHECK_THROWS_WITH(compile(other, o), Catch::Matchers::Contains("'grad:tail.*' matches no"));
}

TEST_CASE("a step writes state, prediction reads it", "[core]") {
  const Model m{[](Values in) {
    const Tensor x = in["x"], running = nn::state(x, "running_mean", {4});
    const Tensor batch_mean = mean(x, 0);
    nn::assign(running, batch_mean, 0.9f);
    const Tensor center = nn::training(x) ? batch_mean : running;
    return Values{{"y", bias_add(x, -center)}};
  }};
  CompileOptions o = toy_options(4, 4);
  o.targets = {{"t", {4}}};
  o.loss = mean_squared_error;
  Program p = compile(m, o);
  Batch b = toy_batch(8, 4, 4);
  b.targets = {toy_batch(8, 4, 4, 2).inputs[0]};
  for (int i = 0; i < 2; ++i) (void)p.step(b);
  const Array running = m.parameters().get("running_mean");
  for (int c = 0; c < 4; ++c) {
    double mean = 0;
    for (int r = 0; r < 8; ++r) mean += b.inputs[0].at(r * 4 + c) / 8;
    CHECK(running.at(c) == Approx(0.19 * mean).margin(1e-6));
    CHECK(p.predict(b.inputs).at(0).at(c) == Approx(b.inputs[0].at(c) - 0.19 * mean).margin(1e-6));
  }
  CHECK(m.parameters().trainable_count() == 0);
}

TEST_CASE("layers: names, attributes and owners are checked", "[core]") {
  const nn::Dense layer{.units = 3};
  const Model m{[=](Values in) { return Values{{"y", layer(in["x"])}}; }};
  (void)compile(m, toy_options(4, 3));
  const Model other{[=](Values in) { return Values{{"y", layer(in["x"])}}; }};
  CHECK_THROWS_WITH(compile(other, toy_options(4, 3)),
                    Catch::Matchers::Contains("belongs to another model: clone() it"));
  const Model twice{[](Values in) {
    return Values{{"y", nn::Dense{.units = 3, .name = "d"}(nn::Dense{.units = 3, .name = "d"}(in["x"]))}};
  }};
  CHECK_THROWS_WITH(compile(twice, toy_options(4, 3)), Catch::Matchers::Contains("two layers are named 'd'"));
  Scratch scratch;
  CHECK_THROWS_WITH(layer(scratch(Array(DType::f32, {1, 4}))),
                    Catch::Matchers::Contains("layers are called inside a model"));
}

TEST_CASE("shape errors name the layer and both shapes", "[core]") {
  const nn::Sequential net{nn::Conv2d{.filters = 8, .kernel = {5, 5}, .name = "stem"}};
  CompileOptions o = toy_options(0, 1);
  o.inputs = {{"x", {4, 4, 3}}};
  CHECK_THROWS_WITH(compile(net, o),
                    Catch::Matchers::Contains("[conv2d] filter (5,5,3,8) does not fit into input (1,4,4,3) in stem"));
}

TEST_CASE("a label out of range is an error and updates nothing", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 3}};
  Program p = compile(net, toy_options(4, 3));
  Batch b = toy_batch(8, 4, 3);
  const std::uint64_t before = net.parameters().hash();
  b.targets[0].values<std::int32_t>()[5] = 3;
  CHECK_THROWS_AS(p.step(b), DataError);
  CHECK(net.parameters().hash() == before);
  b.targets[0].values<std::int32_t>()[5] = 2;
  CHECK(p.step(b).updated);
}

TEST_CASE("a loss that is not finite halts the updates", "[core]") {
  const nn::Sequential net{nn::Dense{.units = 3}};
  Program p = compile(net, toy_options(4, 3));
  Batch b = toy_batch(8, 4, 3);
  b.inputs[0].values<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const std::uint64_t before = net.parameters().hash();
  const StepResult r = p.step(b);
  CHECK(std::isnan(r.loss));
  CHECK(r.halted);
  CHECK(net.parameters().hash() == before);
}

TEST_CASE("the arena: no two buffers alive at once overlap", "[core]") {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Buffer> buffers(1 + rng() % 60);
    std::int64_t sum = 0;
    for (Buffer& b : buffers) {
      b.bytes = static_cast<std::int64_t>(rng() % 5 == 0 ? 0 : rng() % 5000);
      b.first = static_cast<std::int32_t>(rng() % 40);
      b.last = b.first + static_cast<std::int32_t>(rng() % 10);
      sum += (std::max<std::int64_t>(b.bytes, 1) + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
    }
    const std::int64_t total = place_buffers(buffers);
    CHECK(total <= sum);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const Buffer& a = buffers[i];
      CHECK(a.offset % buffer_alignment == 0);
      CHECK(a.offset + a.bytes <= total);
      for (std::size_t j = i + 1; j < buffers.size(); ++j) {
        const Buffer& b = buffers[j];
        const bool together = a.first <= b.last && b.first <= a.last;
        const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        if (together) CHECK_FALSE(overlap);
      }
    }
  }
}

TEST_CASE("second order is a typed error", "[core]") {
  Graph g;
  const Tensor x = g.input("x", {DType::f32, {4}}), y = sum(sigmoid(x));
  const std::vector<ValueId> first = differentiate(g, y.id(), {x.id()});
  CHECK_THROWS_WITH(differentiate(g, sum(Tensor{&g, first[0]}).id(), {x.id()}),
                    Catch::Matchers::Contains("second order"));
}

TEST_CASE("eval is a plain tensor library", "[core]") {
  Scratch s;
  const Tensor a = s(Array::of(std::vector<float>{1, 2, 3, 4}, {2, 2}));
  const Array y = eval(matmul(a, a) + 1.f);
  CHECK(y.at(0) == 8);
  CHECK(y.at(3) == 23);
  CHECK(eval(sum(a / 2.f)).item() == 5);
}

namespace {

/// A builder that takes an axis, and the name that its errors carry.
struct OnAxis {
  const char* name;
  Tensor (*build)(Tensor x, int axis);
};
constexpr OnAxis on_axis[] = {
    {"reduce", [](Tensor x, int axis) { return sum(x, axis); }},
    {"reduce", [](Tensor x, int axis) { return mean(x, axis); }},
    {"reduce", [](Tensor x, int axis) { return max(x, axis, true); }},
    {"reduce", [](Tensor x, int axis) { return min(x, axis, true); }},
    {"softmax", [](Tensor x, int axis) { return softmax_over(x, axis); }},
    {"slice", [](Tensor x, int axis) { return slice(x, axis, 1, 1); }},
    {"concat",
     [](Tensor x, int axis) {
       return concat({x, x * 2.f}, axis);
     }},
    {"concat", [](Tensor x, int axis) { return concat({x}, axis) * 2.f; }},
    {"transpose",
     [](Tensor x, int axis) {
       const int after = axis == 2 ? 0 : axis + 1, last = after == 2 ? 0 : after + 1;
       return transpose(x, {axis, after, last});
     }},
};
/// What distinguishes the axes: three extents, all values different.
Tensor numbered(Scratch& s) {
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.25f * static_cast<float>(i);
  return s(Array::of(values, {2, 3, 4}));
}

}  // namespace

TEST_CASE("an axis below 0 counts from the end, in every builder that takes one", "[core][axes]") {
  for (const OnAxis& b : on_axis)
    for (int axis = 0; axis < 3; ++axis) {
      INFO(b.name << " axis " << axis);
      Scratch s;
      const Tensor x = numbered(s);
      const Array front = eval(b.build(x, axis)), end = eval(b.build(x, axis - 3));
      CHECK(end.shape() == front.shape());
      CHECK(same_bits(end, front));
    }
}

TEST_CASE("axes counted from the end are the ones they should be", "[core][axes]") {
  Scratch s;
  const Tensor x = numbered(s);
  CHECK(eval(sum(x, -3)).shape() == Shape{3, 4});
  CHECK(eval(sum(x, -2, true)).shape() == Shape{2, 1, 4});
  CHECK(eval(mean(x, -1)).at(5) == 0.25 * 21.5);
  CHECK(eval(max(x, -2)).at(0) == 0.25 * 8);
  CHECK(eval(min(x, -3)).at(11) == 0.25 * 11);
  CHECK(eval(sum(softmax_over(x, -2), 1)).at(3) == Approx(1));
  CHECK(eval(slice(x, -1, 2, 1)).at(1) == 0.25 * 6);
  const Array joined = eval(concat({x, x * 2.f}, -2));
  CHECK(joined.shape() == Shape{2, 6, 4});
  CHECK(joined.at(12) == 0);
  CHECK(joined.at(23) == 0.5 * 11);
  const Array turned = eval(transpose(x, {-1, 0, -2}));
  CHECK(turned.shape() == Shape{4, 2, 3});
  CHECK(turned.at(7) == 0.25 * 5);  // (1, 0, 1) of the result is (0, 1, 1) of x
}

TEST_CASE("an axis out of range is an error that names it and the shape", "[core][axes]") {
  for (const OnAxis& b : on_axis) {
    Scratch s;
    const Tensor x = numbered(s), scalar = s(Array::scalar(1.f));
    for (const int axis : {3, -4, 256, -2147483647}) {
      INFO(b.name << " axis " << axis);
      CHECK_THROWS_AS(b.build(x, axis), UsageError);
      CHECK_THROWS_WITH(b.build(x, axis), fmt::format("[{}] axis {} expected to lie in (2,3,4)", b.name, axis));
    }
    CHECK_THROWS_AS(b.build(scalar, 0), UsageError);
    CHECK_THROWS_AS(b.build(scalar, -1), UsageError);
  }
  Scratch s;
  CHECK_THROWS_WITH(transpose(numbered(s), {0, -1, 2}), Catch::Matchers::Contains("[transpose] expects a permutation"));
}
