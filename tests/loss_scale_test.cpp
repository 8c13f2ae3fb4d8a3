// Scaled losses: a power of two changes no bit of a training, and an overflow costs one update and nothing else.
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"
#include "tests/support/toy.hpp"

namespace tenon {
namespace {

using namespace tenon::test;

constexpr float largest_scale = 0x1p24f;

nn::Sequential net() { return {nn::Dense{.units = 9, .activation = tanh}, nn::Dropout{.3f}, nn::Dense{.units = 4}}; }

/// Finite in its loss; its gradients of the loss times largest_scale are not.
Batch overflowing() {
  Batch b = toy_batch(8, 6, 4, 77);
  for (float& v : b.inputs[0].values<float>()) v *= 1e33f;
  return b;
}

CompileOptions scaled(float scale, Optimizer optimizer = Adam{.lr = 1e-2f}, int accumulate = 1) {
  CompileOptions o = toy_options(6, 4);
  o.optimizer = optimizer;
  o.accumulate = accumulate;
  o.loss_scale = scale;
  o.run.device = "cpu";
  return o;
}

}  // namespace

TEST_CASE("a scaled loss trains to the same bits", "[loss_scale]") {
  const auto trained = [](const Optimizer& optimizer, float scale) {
    const nn::Sequential model = net();
    CompileOptions o = scaled(scale, optimizer, 2);
    o.clip_norm = 0.5f;
    o.groups = {{"*bias", 2.f, 0.01f}};
    o.observe = {"grad:*"};
    Program p = compile(model, o);
    std::vector<double> seen;
    for (std::uint32_t i = 0; i < 6; ++i) {
      seen.push_back(p.step(toy_batch(8, 6, 4, i)).loss);
      seen.push_back(p.observed("grad:dense.kernel").at(3));
    }
    seen.push_back(static_cast<double>(model.parameters().hash() >> 12));
    return seen;
  };
  for (const Optimizer& o : {Optimizer{Adam{.lr = 1e-2f}}, Optimizer{Adadelta{}}, Optimizer{Sgd{.momentum = .9f}}}) {
    CHECK(trained(o, 1024.f) == trained(o, 1.f));
    CHECK(trained(o, largest_scale) == trained(o, 0.f));
  }
}

TEST_CASE("both models train to the same bits with a scaled loss", "[loss_scale]") {
  for (const bool convolutional : {false, true}) {
    const auto hash = [&](float scale) {
      const nn::Sequential model = convolutional ? cnn() : mlp();
      CompileOptions o = image_options(convolutional);
      o.loss_scale = scale;
      o.run.device = "cpu";
      Program p = compile(model, o);
      Loader loader(digits(), {.batch_size = 8, .seed = 1, .prefetch = false});
      loader.start_epoch(0);
      for (int i = 0; i < 3; ++i) (void)p.step(*loader.next());
      return model.parameters().hash();
    };
    CHECK(hash(1024.f) == hash(1.f));
  }
}

TEST_CASE("an overflow skips one update", "[loss_scale]") {
  const nn::Sequential model{nn::Dense{.units = 4}}, other{nn::Dense{.units = 4}};
  Program p = compile(model, scaled(largest_scale)), never = compile(other, scaled(largest_scale));
  CHECK(p.step(toy_batch(8, 6, 4)).updated);
  CHECK(never.step(toy_batch(8, 6, 4)).updated);
  const std::uint64_t before = model.parameters().hash();
  const StepResult r = p.step(overflowing());
  CHECK(std::isfinite(r.loss));
  CHECK(r.overflowed);
  CHECK_FALSE(r.updated);
  CHECK_FALSE(r.halted);
  CHECK(model.parameters().hash() == before);
  CHECK(p.updates() == 1);
  const StepResult next = p.step(toy_batch(8, 6, 4, 2));
  CHECK(next.updated);
  CHECK_FALSE(next.overflowed);
  (void)never.step(toy_batch(8, 6, 4, 2));
  CHECK(model.parameters().hash() == other.parameters().hash());  // Adam's count has not moved either
  // Without a scale the same gradients are finite.
  const nn::Sequential plain{nn::Dense{.units = 4}};
  Program unscaled = compile(plain, scaled(1.f));
  CHECK(unscaled.step(overflowing()).updated);
}

TEST_CASE("an overflow in one micro-batch skips the update of all of them", "[loss_scale]") {
  for (const int where : {0, 1, 2}) {
    const nn::Sequential model{nn::Dense{.units = 4}}, other{nn::Dense{.units = 4}};
    Program p = compile(model, scaled(largest_scale, Sgd{.lr = 0.1f}, 3));
    Program never = compile(other, scaled(largest_scale, Sgd{.lr = 0.1f}, 3));
    const std::uint64_t before = model.parameters().hash();
    for (int i = 0; i < 3; ++i) CHECK_FALSE(p.step(i == where ? overflowing() : toy_batch(8, 6, 4)).updated);
    CHECK(model.parameters().hash() == before);
    for (std::uint32_t i = 0; i < 3; ++i) {
      CHECK(p.step(toy_batch(8, 6, 4, i)).updated == (i == 2));
      (void)never.step(toy_batch(8, 6, 4, i));
    }
    CHECK(model.parameters().hash() == other.parameters().hash());
  }
}

TEST_CASE("a training counts its skipped updates, and ends where there is nothing else", "[loss_scale]") {
  Array x(DType::f32, {240, 6}), t(DType::i32, {240});
  for (std::size_t i = 0; i < 1440; ++i) x.values<float>()[i] = static_cast<float>(i % 7) - 3.f;
  const auto history = [&] {
    Trainer trainer{
        nn::Sequential{nn::Dense{.units = 4}},
        {.loss = softmax_crossentropy, .optimizer = Sgd{.lr = 0.1f}, .device = "cpu", .loss_scale = largest_scale}};
    return trainer.fit(Dataset(x, t), {.batch_size = 4, .shuffle = false}).summary;
  };
  x.values<float>()[100] = 1e33f;
  const Summary one = history();
  CHECK(one.skipped == 1);
  CHECK(one.steps == 60);
  CHECK_FALSE(one.halted);
  for (float& v : x.values<float>()) v *= 1e33f;
  x.values<float>()[100] = 1.f;
  const Summary all = history();
  CHECK(all.halted);
  CHECK(all.skipped == 50);
  CHECK(all.steps == 50);
  CHECK_THAT(all.reason, Catch::Contains("50 updates in a row were skipped, the last at step 49"));
}

TEST_CASE("wrong scales are refused, and fp16 on the CPU with the reason", "[loss_scale]") {
  const nn::Sequential model{nn::Dense{.units = 4}};
  for (const float wrong : {3.f, 0.5f, -2.f, 0x1p25f, std::numeric_limits<float>::quiet_NaN()})
    CHECK_THROWS_WITH(compile(model, scaled(wrong)), Catch::Contains("loss_scale is a power of two from 1 to 2^24"));
  CompileOptions o = scaled(0.f);
  o.run.precision = "fp16";
  CHECK_THROWS_WITH(compile(model, o), Catch::Contains("[precision] fp16 runs on CUDA"));
  CHECK_THAT(compile(model, scaled(2048.f)).banner(), Catch::Contains("fp32, loss x 2048"));
}

}  // namespace tenon
