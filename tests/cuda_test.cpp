// The CUDA backend, on whatever module TENON_MODULE_PATH names: in CI the emulated one, which runs the kernels' sources on the CPU
// (tests/cuda_emulation), on a machine with a GPU the real one. Every row against the reference, whole trainings against the
// CPU's bits, and a program's life on a device.
#include <cstdlib>
#include <limits>
#include <set>

#include "tenon/backend.hpp"
#include "tests/row_test.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"
#include "tests/support/toy.hpp"

namespace tenon::tests {
namespace {

using namespace tenon::test;

/// Trainings are long where every thread of the GPU is a loop of the CPU.
const int steps = std::getenv("TENON_CUDA_SCHEDULE") != nullptr ? 1 : 3;

Options on_cuda(bool fuse = true) { return {.device = "cuda", .seed = 3, .fuse = fuse}; }

}  // namespace

TEST_CASE("rows of cuda.tenon have the reference's bits", "[cuda][rows][tenon]") {
  CHECK(check_rows("cuda.tenon", backend("cuda")) > 40);
}
TEST_CASE("rows of cuda.naive have the reference's bits", "[cuda][rows][naive]") {
  CHECK(check_rows("cuda.naive", backend("cuda")) == 6);
}

TEST_CASE("rows of cuDNN and cuBLAS keep their bounds", "[.libraries]") {  // on a machine that has them, and a GPU
  CHECK(check_rows("cuda.cudnn", backend("cuda")) == 20);
  CHECK(check_rows("cuda.cublas", backend("cuda")) == 6);
}

TEST_CASE("cuda.tenon has a row for every operation that the CPU has one for", "[cuda][table]") {
  std::set<op::Kind> there;
  for (const Kernel& k : backend("cuda").kernels())
    if (k.provider == "cuda.tenon") there.insert(k.op);
  for (const Kernel& k : backend("cpu").kernels()) {
    INFO(op::name_of(k.op));
    if (k.provider == "cpu.baseline" || k.provider == "cpu.neon") CHECK(there.contains(k.op));
  }
}

TEST_CASE("both models train to the CPU's bits", "[cuda][train]") {
  if (!backend("cpu").canonical()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  for (const bool convolutional : {true, false}) {
    const std::int64_t batch = convolutional ? 3 : 20;  // sums over samples in one group and in several
    INFO((convolutional ? "cnn" : "mlp"));
    const Outcome host = train(convolutional, steps, batch, {}), device = train(convolutional, steps, batch, on_cuda());
    CHECK(device.hash == host.hash);
    CHECK(device.loss == host.loss);
  }
}

TEST_CASE("decomposed and naive forms have the same bits", "[cuda][train]") {
  const Outcome host = train(true, 1, 2, {});
  CHECK(train(true, 1, 2, on_cuda(), false).hash == host.hash);
  Options naive = on_cuda();
  naive.providers = "conv2d=cuda.naive,conv2d_grad_input=cuda.naive,conv2d_grad_filter=cuda.naive,matmul=cuda.naive";
  CHECK(train(true, 1, 2, naive).hash == host.hash);
}

TEST_CASE("parameters follow from device to device", "[cuda][program]") {
  const auto net = [] { return nn::Sequential{nn::Dense{.units = 5, .activation = relu}, nn::Dense{.units = 3}}; };
  const auto options = [](const char* device) {
    CompileOptions o = toy_options(7, 3);
    o.run.device = device;
    o.metrics = {{.criterion = accuracy}};
    o.optimizer = Adam{.lr = 1e-2f};
    return o;
  };
  // Steps by turns on both devices leave what steps on one leave, as long as the optimizer keeps no state of its own.
  const auto trained = [&](const std::vector<const char*>& devices) {
    const nn::Sequential model = net();
    std::vector<Program> programs;
    for (const char* device : devices) {
      CompileOptions o = options(device);
      o.optimizer = Sgd{.lr = 0.5f};
      programs.push_back(compile(model, o));
    }
    for (std::uint32_t i = 0; i < 6; ++i) (void)programs[i % programs.size()].step(toy_batch(8, 7, 3, i));
    return model.parameters().hash();
  };
  CHECK(trained({"cpu", "cuda"}) == trained({"cpu"}));
  CHECK(trained({"cuda"}) == trained({"cpu"}));

  const nn::Sequential model = net();
  Program p = compile(model, options("cuda"));
  const StepResult first = p.step(toy_batch(8, 7, 3));
  CHECK(first.loss > 0);
  REQUIRE(first.metrics.size() == 1);
  const Array bias = model.parameters().get("dense.bias");
  Array moved = bias.clone();
  moved.values<float>()[0] += 1.f;
  model.parameters().set("dense.bias", moved);
  CHECK(same_bits(model.parameters().get("dense.bias"), moved));
  (void)p.evaluate(toy_batch(8, 7, 3));
  CHECK(same_bits(model.parameters().get("dense.bias"), moved));  // an evaluation writes nothing
  (void)p.step(toy_batch(8, 7, 3));
  CHECK_FALSE(same_bits(model.parameters().get("dense.bias"), moved));
}

TEST_CASE("a program on the device says what one on the host says", "[cuda][program]") {
  for (const bool accumulate : {false, true}) {
    const auto outcome = [&](const char* device) {
      CompileOptions o = toy_options(6, 4);
      o.run.device = device;
      o.optimizer = Adagrad{.lr = 0.1f, .initial_accumulator = 0.2f};
      o.clip_norm = 0.5f;
      o.accumulate = accumulate ? 2 : 1;
      o.observe = {"grad:*", "y"};
      const nn::Sequential model{nn::Dense{.units = 9, .activation = tanh}, nn::Dropout{.3f}, nn::Dense{.units = 4}};
      Program p = compile(model, o);
      std::vector<double> seen;
      for (std::uint32_t i = 0; i < 5; ++i) {
        const StepResult r = p.step(toy_batch(i == 3 ? 5 : 8, 6, 4, i));  // another shape is another plan
        seen.push_back(r.loss);
        seen.push_back(p.observed("y").at(3));
      }
      seen.push_back(p.gradient("dense.kernel").at(7));
      for (const Array& y : p.predict(toy_batch(3, 6, 4).inputs)) seen.push_back(y.at(5));
      seen.push_back(p.evaluate(toy_batch(8, 6, 4)).loss);
      seen.push_back(static_cast<double>(model.parameters().hash() >> 12));
      const Predictor predictor = Model(model).predictor({.device = device});
      seen.push_back(predictor(toy_batch(3, 6, 4).inputs[0]).at(5));
      return seen;
    };
    INFO((accumulate ? "accumulated" : "step by step"));
    CHECK(outcome("cuda") == outcome("cpu"));
  }
}

namespace {

/// Steps as a hook sees them.
struct Steps final : Hook {
  explicit Steps(bool one_by_one) : one_by_one_(one_by_one) {}
  bool every_step() const override { return one_by_one_; }
  void on_steps(std::span<const StepRecord> records, TrainControl&) override {
    for (const StepRecord& r : records) {
      seen.push_back(r.loss);
      seen.push_back(r.metrics[0].value);
      seen.push_back(r.learning_rate);
      seen.push_back(static_cast<double>(r.examples));
      seen.push_back(static_cast<double>(r.step));
    }
  }
  std::vector<double> seen;

 private:
  bool one_by_one_;
};

/// 50 samples of 6 bytes and their labels.
Dataset bytes() {
  Array x(DType::u8, {50, 6}), t(DType::u8, {50});
  for (std::size_t i = 0; i < 300; ++i) x.values<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 % 256);
  for (std::size_t i = 0; i < 50; ++i) t.values<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7 % 4);
  return Dataset({{"x", {x, 255.f}}}, {{"t", {t}}});
}

std::vector<double> fitted(const char* device, bool by_updates, bool one_by_one, bool shuffle, const Dataset& data) {
  Trainer t{nn::Sequential{nn::Dense{.units = 9, .activation = relu}, nn::Dropout{.3f}, nn::Dense{.units = 4}},
            {.loss = softmax_crossentropy,
             .optimizer = Sgd{.lr = cosine(0.3f, 40), .momentum = 0.9f},
             .metrics = {{.criterion = accuracy}},
             .device = device,
             .seed = 5}};
  Steps hook(one_by_one);
  FitOptions o{.batch_size = 8, .epochs = 3, .validation = data.slice(0, 21), .hooks = {&hook}, .shuffle = shuffle};
  if (by_updates) o.updates = 17;
  const History h = t.fit(data, o);
  std::vector<double> seen = hook.seen;
  for (const EpochRecord& e : h.epochs) {
    seen.push_back(e.loss);
    seen.push_back(e.validation_loss.value_or(-1));
    seen.push_back(e.validation_metrics.at(0).value);
    seen.push_back(static_cast<double>(e.steps));
  }
  seen.push_back(static_cast<double>(t.model().parameters().hash() >> 12));
  return seen;
}

}  // namespace

TEST_CASE("training on data that stays on the device is training from the host", "[cuda][resident]") {
  const Dataset data = bytes();
  for (const bool by_updates : {false, true})
    for (const bool one_by_one : {false, true})
      for (const bool shuffle : {false, true}) {
        INFO(by_updates << one_by_one << shuffle);
        const std::vector<double> host = fitted("cpu", by_updates, one_by_one, shuffle, data);
        CHECK(fitted("cuda", by_updates, one_by_one, shuffle, data) == host);
      }
}

TEST_CASE("steps that are recorded have the CPU's bits in every order that their operands allow", "[cuda][order]") {
  if (!backend("cpu").canonical()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  const Dataset data = digits().slice(0, 18);
  for (const bool convolutional : {true, false}) {
    INFO((convolutional ? "cnn" : "mlp"));
    const auto trained = [&](const char* device) {
      const CompileOptions o = image_options(convolutional);
      Trainer t{convolutional ? cnn() : mlp(),
                {.loss = o.loss, .optimizer = o.optimizer, .metrics = o.metrics, .device = device, .seed = 3}};
      // Blocks of two steps: the first runs as it comes, the second is recorded. Nine samples are two groups of sums, and take
      // workspace.
      const History h = t.fit(data, {.batch_size = 9, .epochs = 2});
      return std::tuple(t.model().parameters().hash(), h.epochs.at(1).loss);
    };
    CHECK(trained("cuda") == trained("cpu"));
  }
}

TEST_CASE("a label out of range and a loss that is not finite end training on resident data", "[cuda][resident]") {
  Dataset data = bytes();
  const_cast<Column&>(data.targets()[0].second).data.values<std::uint8_t>()[33] = 9;
  CHECK_THROWS_WITH(fitted("cuda", false, false, true, data),
                    "[program] a label or id is out of range: found 9 in a batch of 8");
  Array x(DType::f32, {40, 6}), t(DType::i32, {40});
  x.values<float>()[100] = std::numeric_limits<float>::infinity();
  const auto history = [&](const char* device) {
    Trainer trainer{nn::Sequential{nn::Dense{.units = 4}},
                    {.loss = softmax_crossentropy, .optimizer = Sgd{.lr = 0.1f}, .device = device, .seed = 5}};
    const History h = trainer.fit(Dataset(x, t), {.batch_size = 4, .epochs = 2, .shuffle = false});
    return std::tuple(h.summary.halted, h.summary.reason, h.summary.steps, trainer.model().parameters().hash());
  };
  CHECK(history("cuda") == history("cpu"));
  CHECK(std::get<0>(history("cuda")));
  Trainer none{nn::Sequential{nn::Dense{.units = 4}}, {.loss = softmax_crossentropy, .device = "cuda"}};
  CHECK_THROWS_WITH(none.fit(Dataset(x, t).slice(0, 0), {.batch_size = 4}),
                    Catch::Contains("[loader] expected at least one sample"));
}

TEST_CASE("labels out of range and losses that are not finite are reported by the device", "[cuda][program]") {
  CompileOptions o = toy_options(6, 4);
  o.run.device = "cuda";
  const nn::Sequential model{nn::Dense{.units = 4}};
  Program p = compile(model, o);
  Batch bad = toy_batch(8, 6, 4);
  bad.targets[0].values<std::int32_t>()[5] = 9;
  CHECK_THROWS_WITH(p.step(bad), "[program] a label or id is out of range: found 9 in a batch of 8");
  CHECK_FALSE(p.step(toy_batch(8, 6, 4)).halted);
  const std::uint64_t before = model.parameters().hash();
  Batch nan = toy_batch(8, 6, 4);
  nan.inputs[0].values<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(p.step(nan).halted);
  CHECK(p.step(toy_batch(8, 6, 4)).halted);  // and stays so
  CHECK(model.parameters().hash() == before);
}

TEST_CASE("what a device cannot do is said at once", "[cuda][errors]") {
  CompileOptions o = toy_options(6, 4);
  o.run.device = "cuda";
  const nn::Sequential model{nn::Dense{.units = 4}};
  o.run.dtype = DType::f64;
  CHECK_THROWS_WITH(compile(model, o), "[dtype] f64 runs on the reference, which is on the CPU; found device cuda");
  CHECK_THROWS_WITH(backend("cuda:77"),
                    Catch::Contains("expected a device below") && Catch::Contains("found number 77"));
  CHECK_THROWS_WITH(backend("cuda:x"), "[device] expects auto, cpu or cuda[:N], found 'cuda:x'");
  CHECK(backend("auto").name() == "cuda");
}

TEST_CASE("eval() runs on the device", "[cuda][program]") {
  Scratch s;
  const Tensor y = sum(relu(s(Array::of<float>({-1.f, 2.f, 3.f}, {3}))), 0);
  CHECK(eval(y, {.device = "cuda"}).item() == 5.);
}

}  // namespace tenon::tests
