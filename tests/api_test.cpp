// What the public API must be able to say, run line by line with a checked value for each.
#include <atomic>
#include <filesystem>
#include <thread>

#include "tenon/custom_op.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"
#include "tests/support/toy.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {
struct Counter final : Hook {
  std::int64_t steps = 0, epochs = 0, ends = 0;
  void on_steps(std::span<const StepRecord> records, TrainControl&) override {
    for (const StepRecord& r : records) CHECK(r.step == steps++);
  }
  void on_epoch(const EpochRecord& e, TrainControl&) override {
    CHECK(e.epoch == epochs++);
    CHECK(e.validation_loss.has_value());
  }
  void on_end(const Summary& s) override {
    ++ends;
    CHECK(s.steps == steps);
  }
};
}  // namespace

TEST_CASE("a Sequential, a Trainer, a History, a file, a Predictor", "[api]") {
  const Dataset train = digits().slice(0, 1024), test = digits().slice(1024, 1280);
  nn::Sequential net{nn::Conv2d{.filters = 8, .kernel = {3, 3}, .activation = relu}, nn::MaxPool2d{.window = {2, 2}},
                     nn::Dropout{.25f}, nn::Flatten{}, nn::Dense{.units = 10, .activation = softmax}};
  Trainer t{net,
            {.loss = categorical_crossentropy,
             .optimizer = Adadelta{.lr = 1, .rho = .95f, .epsilon = 1e-7f},
             .metrics = {{.criterion = accuracy}},
             .device = "auto"}};
  Counter counter;
  const History h = t.fit(train, {.batch_size = 96, .epochs = 3, .validation = test, .hooks = {&counter}});
  CHECK(h.epochs.size() == 3);
  CHECK(counter.steps == 3 * 11);  // 10 * 96 + 64
  CHECK(counter.ends == 1);
  CHECK(h["loss"][2] < h["loss"][0]);
  CHECK(h["val_accuracy"][2] > 0.3);
  CHECK_THROWS_AS(h["perplexity"], UsageError);
  CHECK(t.evaluate(test)["accuracy"] == Approx(h["val_accuracy"][2]));

  Loader loader(test, {.batch_size = 4, .shuffle = false});
  const Array images = loader.next()->inputs[0].clone();
  const Array y = t.predict(images);
  CHECK(y.shape() == Shape{4, 10});
  double total = 0;
  for (int k = 0; k < 10; ++k) total += y.at(k);
  CHECK(total == Approx(1.0));  // probabilities, as the last layer says

  const std::string path = (std::filesystem::temp_directory_path() / "tenon_api_test.safetensors").string();
  save(net, path);
  const Predictor f = load(path).predictor();
  CHECK(same_bits(f(images), y));
  CHECK(nn::Sequential::load(path).config() == net.config());
  std::vector<std::thread> callers;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int call = 0; call < 8; ++call) right += same_bits(f(images), y);
    });
  for (std::thread& c : callers) c.join();
  CHECK(right == 32);
  std::filesystem::remove(path);
}

TEST_CASE("two inputs, shared weights, two outputs, and every option of compile", "[api]") {
  nn::Dense encode{.units = 64, .activation = relu, .name = "encode"}, head{.units = 10, .name = "head"};
  Model twin{[=](Values in) {
    Tensor a = encode(in["left"]), b = encode(in["right"]);
    return Values{{"same", sum(a * b, -1)}, {"class", head(a + b)}};
  }};
  auto loss = [](Values y, Values t) {
    return .7f * sigmoid_crossentropy(y["same"], t["same"]) + .3f * softmax_crossentropy(y["class"], t["class"]);
  };
  Program p = compile(twin, {.inputs = {{"left", {784}}, {"right", {784}}},
                             .targets = {{"same", {}}, {"class", {}, DType::i32}},
                             .loss = loss,
                             .optimizer = AdamW{.lr = cosine(1e-3f, 9375)},
                             .clip_norm = 1,
                             .accumulate = 4,
                             .frozen = {"encode.*"},
                             .observe = {"grad:head.*"},
                             .metrics = {{"class", accuracy}}});
  Batch batch;
  batch.size = 8;
  batch.inputs = {toy_batch(8, 784, 1).inputs[0], toy_batch(8, 784, 1, 2).inputs[0]};
  batch.targets = {Array(DType::f32, {8}), toy_batch(8, 1, 10).targets[0]};
  for (int i = 0; i < 8; ++i) CHECK(p.step(batch).updated == (i % 4 == 3));
  CHECK(p.updates() == 2);
  CHECK(p.learning_rate() == Approx(1e-3).epsilon(1e-4));
  CHECK(p.observed("grad:head.kernel").shape() == Shape{64, 10});
  CHECK(p.predict(batch.inputs).size() == 2);
  CHECK(p.banner().substr(0, 4) == "cpu:");
}

TEST_CASE("an op of the user's own", "[api]") {
  const CustomFunction swish = define_op({.name = "swish",
                                          .infer = same_shape,
                                          .vjp =
                                              [](const CustomVjp& v) {
                                                const Tensor s = sigmoid(v.inputs[0]);
                                                return std::vector<Tensor>{v.grads[0] * (s + v.outputs[0] * (1.f - s))};
                                              },
                                          .reference =
                                              [](auto in, auto out) {
                                                for (std::size_t i = 0; i < in[0].size(); ++i)
                                                  out[0][i] = in[0][i] / (1 + std::exp(-in[0][i]));
                                              }});
  Scratch s;
  CHECK(eval(swish(s(Array::of(std::vector<float>{0.f, 1.f}, {2})))).at(1) == Approx(0.7310586));
  const GradReport g = gradcheck([&](Tensor x) { return sum(swish(x)); }, {toy_batch(3, 5, 1).inputs[0]});
  INFO(g.text);
  CHECK(g.ok);
}

TEST_CASE("gradcheck of a strided convolution", "[api]") {
  const Array x0 = toy_batch(2, 7 * 7 * 2, 1).inputs[0].reshaped({2, 7, 7, 2}),
              w0 = toy_batch(9, 8, 1, 3).inputs[0].reshaped({3, 3, 2, 4});
  const GradReport g = gradcheck([](Tensor x, Tensor w) { return sum(conv2d(x, w, {.stride = {2, 2}})); }, {x0, w0});
  INFO(g.text);
  CHECK(g.ok);
  CHECK(g.checked > 0);
}

TEST_CASE("optimizers and schedules lower the loss", "[api]") {
  const Optimizer optimizers[] = {Sgd{.lr = .1f, .momentum = .9f},
                                  Sgd{.lr = .1f, .momentum = .9f, .nesterov = true, .weight_decay = 1e-4f},
                                  Adadelta::keras1(),
                                  Adadelta::torch(),
                                  Adagrad{.lr = .1f},
                                  Adagrad::keras3(),
                                  RmsProp{.lr = .01f},
                                  RmsProp::torch(),
                                  Adam{.lr = exponential(.01f, .5f, 100)},
                                  Adam{.lr = LearningRate(.01f).warmed_up(5)},
                                  AdamW{.lr = step_decay(.01f, .5f, 50)}};
  for (const Optimizer& o : optimizers) {
    const nn::Sequential net{nn::Dense{.units = 16, .activation = tenon::tanh, .kernel_initializer = lecun_normal},
                             nn::Dense{.units = 3}};
    CompileOptions c = toy_options(4, 3);
    c.optimizer = o;
    Program p = compile(net, c);
    const Batch b = toy_batch(12, 4, 3);
    const double first = p.step(b).loss;
    for (int i = 0; i < 60; ++i) (void)p.step(b);
    INFO(name_of(o));
    CHECK(p.step(b).loss < first - 0.02);
  }
  CHECK(cosine(1.f, 100).at(50) == Approx(0.5));
  CHECK(linear_decay(1.f, 10).at(10) == 0.f);
}

TEST_CASE("activations and initializers by name", "[api]") {
  CHECK(Activation::named("leaky_relu", 0.2f) == leaky_relu.with(0.2f));
  CHECK_THROWS_AS(Activation::named("sine", 0.f), UsageError);
  Scratch s;
  CHECK_THROWS_WITH(leaky_relu.with(-0.1f)(s(Array(DType::f32, {2}))),
                    Catch::Matchers::Contains("[leaky_relu] slope expects 0 or more"));
  CHECK(initializer_named("he_normal").scale == 2.f);
}

TEST_CASE("the summary is Keras' table", "[api]") {
  const std::string text = cnn().summary({28, 28, 1});
  CHECK(text.find(" conv2d (Conv2D)             (None, 26, 26, 32)        320") != std::string::npos);
  CHECK(text.find("Total params: 1,199,882 (4.58 MB)") != std::string::npos);
}
