// The class fp16 on the CUDA backend; its rows are among those of cuda_test.cpp.
#include <cmath>

#include "tenon/backend.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"
#include "tests/support/toy.hpp"

namespace tenon::tests {
namespace {

using namespace tenon::test;

const int steps = std::getenv("TENON_CUDA_SCHEDULE") != nullptr ? 1 : 4;

}  // namespace

TEST_CASE("both models train in fp16 as in fp32, within its rounding", "[cuda][train][fp16]") {
  for (const bool convolutional : {true, false}) {
    INFO((convolutional ? "cnn" : "mlp"));
    const std::int64_t batch = convolutional ? 2 : 20;
    const auto losses = [&](const char* precision) {
      const nn::Sequential model = convolutional ? cnn() : mlp();
      CompileOptions o = image_options(convolutional);
      o.run.device = "cuda";
      o.run.precision = precision;
      Program p = compile(model, o);
      Loader loader(digits(), {.batch_size = batch, .seed = 1, .prefetch = false});
      loader.start_epoch(0);
      std::vector<double> seen;
      for (int i = 0; i < steps; ++i) {
        const StepResult r = p.step(*loader.next());
        CHECK(r.updated);
        seen.push_back(r.loss);
      }
      for (const PlanEntry& e : p.plan(Program::Mode::train, batch))
        if (e.op.starts_with("conv2d") || e.op.starts_with("matmul")) CHECK(e.precision == precision);
      if (std::string(precision) == "fp16") CHECK_THAT(p.banner(), Catch::Contains("; fp16, loss x 1024"));
      return seen;
    };
    const std::vector<double> exact = losses("fp32"), low = losses("fp16");
    for (std::size_t i = 0; i < exact.size(); ++i) CHECK(std::abs(low[i] - exact[i]) <= 5e-3 * (1 + exact[i]));
    CHECK(losses("fp16") == low);  // the same in every run
  }
}

TEST_CASE("small gradients vanish in fp16 without a scaled loss", "[cuda][program][fp16]") {
  // dz is about 1e-8: below half of what fp16 can say, and 1024 times of it is not.
  const auto gradient = [](float scale) {
    const nn::Sequential model{nn::Dense{.units = 4}};
    CompileOptions o = toy_options(6, 4);
    o.run.device = "cuda";
    o.run.precision = "fp16";
    o.loss_scale = scale;
    o.loss = [](Tensor y, Tensor t) { return 1e-7f * softmax_crossentropy(y, t); };
    Program p = compile(model, o);
    CHECK(p.step(toy_batch(8, 6, 4)).updated);
    double sum = 0;
    const Array g = p.gradient("dense.kernel");
    for (std::int64_t i = 0; i < g.size(); ++i) sum += std::abs(g.at(i));
    return sum;
  };
  CHECK(gradient(1.f) == 0.);
  CHECK(gradient(0.f) > 1e-8);
}

TEST_CASE("skipped updates on the device are those of the host", "[cuda][resident][fp16]") {
  Array x(DType::f32, {40, 6}), t(DType::i32, {40});
  for (std::size_t i = 0; i < 240; ++i) x.values<float>()[i] = static_cast<float>(i % 7) - 3.f;
  for (std::size_t i = 0; i < 40; ++i) t.values<std::int32_t>()[i] = static_cast<std::int32_t>(i % 4);
  x.values<float>()[57] = 1e33f;
  x.values<float>()[200] = -1e33f;
  struct Rates final : Hook {
    void on_steps(std::span<const StepRecord> records, TrainControl&) override {
      for (const StepRecord& r : records) seen.push_back(r.learning_rate), seen.push_back(r.loss);
    }
    std::vector<double> seen;
  };
  const auto outcome = [&](const char* device) {
    Trainer trainer{nn::Sequential{nn::Dense{.units = 4}},
                    {.loss = softmax_crossentropy,
                     .optimizer = Adam{.lr = cosine(0.1f, 20)},
                     .device = device,
                     .seed = 5,
                     .loss_scale = 0x1p24f}};
    Rates rates;
    const Summary s =
        trainer.fit(Dataset(x, t), {.batch_size = 4, .epochs = 2, .hooks = {&rates}, .shuffle = false}).summary;
    CHECK(s.skipped == 4);
    return std::pair(rates.seen, trainer.model().parameters().hash());
  };
  CHECK(outcome("cuda") == outcome("cpu"));
}

}  // namespace tenon::tests
