// Programs of precision bf16 on the emulated rows: what they bind, that threads change no bit, that both models learn as
// they do in fp32, and, when asked for, whole trainings.
#include <fmt/format.h>

#include <cstdlib>

#include "tests/amx_emulation/amx_emulation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/mnist.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {

constexpr const char* provider = "cpu.amx_emulated";

Trainer trainer(bool convolutional, const std::string& precision, std::uint64_t seed = 1, int threads = 0) {
  const CompileOptions o = image_options(convolutional);
  return {convolutional ? cnn() : mlp(),
          {.loss = o.loss,
           .optimizer = o.optimizer,
           .metrics = o.metrics,
           .precision = precision,
           .threads = threads,
           .seed = seed}};
}

/// Mean loss over the last half of `steps` minibatches.
double late_loss(Trainer&& t, const Dataset& data, std::int64_t batch, int steps) {
  Program& p = t.program(data);
  Loader loader(data, {.batch_size = batch, .seed = 1});
  double sum = 0;
  for (int i = 0; i < steps; ++i) {
    const double loss = p.step(*loader.next()).loss;
    if (2 * i >= steps) sum += loss;
  }
  return sum / (steps - steps / 2);
}

}  // namespace

TEST_CASE("programs of bf16 and tf32 bind the emulated rows where they accept", "[amx][bind]") {
  if (!tests::emulate_amx()) return;
  CompileOptions o = image_options(true);
  o.run.precision = "bf16";
  Program p = compile(cnn(), o);
  CHECK(p.banner().ends_with("; bf16"));
  int rounded = 0, convolutions = 0;
  // Too few samples for strips, which would make one entry of several.
  for (const PlanEntry& e : p.plan(Program::Mode::train, 8)) {
    INFO(e.op << " " << e.shape << " " << e.provider);
    if (e.op.starts_with("matmul")) CHECK(e.provider == provider);  // both dense layers, forward and backward
    convolutions += e.op.starts_with("conv2d");
    rounded += e.provider == provider;
  }
  // The first convolution has one channel, and the second's gradients have few live terms: those stay fp32.
  CHECK(convolutions == 5);
  CHECK(rounded == 1 + 6);
  o.run.precision = "tf32";
  Program split = compile(cnn(), o);
  for (const PlanEntry& e : split.plan(Program::Mode::train, 8))
    CHECK((e.provider == provider) == e.op.starts_with("matmul"));
  o.run.precision = "fp32";
  Program exact = compile(cnn(), o);
  for (const PlanEntry& e : exact.plan(Program::Mode::train, 8)) CHECK(e.provider != provider);
}

TEST_CASE("bf16 has bits of its own, the same for every number of threads", "[amx][threads]") {
  if (!tests::emulate_amx()) return;
  for (const bool convolutional : {false, true}) {
    const Outcome one = train(convolutional, 12, 24, {.precision = "bf16", .threads = 1});
    CHECK(one.hash != train(convolutional, 12, 24, {.precision = "tf32", .threads = 1}).hash);
    for (const int threads : {1, 2, 3}) {
      INFO((convolutional ? "cnn, " : "mlp, ") << threads << " threads");
      CHECK(train(convolutional, 12, 24, {.precision = "bf16", .threads = threads}).hash == one.hash);
    }
  }
}

TEST_CASE("updates that follow gradients of bf16 and tf32 have the bits of the slab's", "[amx][threads]") {
  if (!tests::emulate_amx()) return;
  for (const char* precision : {"bf16", "tf32"}) {
    const Outcome apart = train(false, 6, 40, {.precision = precision, .threads = 1}, false);
    for (const int threads : {1, 3}) {
      INFO(precision << ", " << threads << " threads");
      CHECK(train(false, 6, 40, {.precision = precision, .threads = threads}).hash == apart.hash);
    }
  }
}

TEST_CASE("both models learn in bf16 as in fp32", "[amx][train]") {
  if (!tests::emulate_amx()) return;
  TENON_REQUIRE_MNIST(data);
  for (const bool convolutional : {false, true}) {
    const std::int64_t batch = convolutional ? 128 : 64;
    const int steps = convolutional ? 100 : 300;
    const double rounded = late_loss(trainer(convolutional, "bf16"), data.train, batch, steps),
                 exact = late_loss(trainer(convolutional, "fp32"), data.train, batch, steps);
    fmt::print("{}: mean loss of steps {} to {} {:.4f} in bf16, {:.4f} in fp32\n", convolutional ? "cnn" : "mlp",
               steps / 2, steps, rounded, exact);
    CHECK(exact < 0.7);
    CHECK(rounded == Approx(exact).epsilon(0.05));
  }
}

/// Not part of a test run: amx_emulation_test "[.whole]". TENON_SEED is the seed, OMP_NUM_THREADS the threads.
TEST_CASE("whole trainings of mnist_cnn in bf16", "[.whole]") {
  if (!tests::emulate_amx()) return;
  TENON_REQUIRE_MNIST(data);
  const char* seed = std::getenv("TENON_SEED");
  Trainer t = trainer(true, "bf16", seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1);
  KerasProgress progress(stdout, false);
  const History h = t.fit(data.train, {.batch_size = 128, .epochs = 12, .validation = data.test, .hooks = {&progress}});
  fmt::print("{}\nAccuracy is {:.4f}\n", t.program(data.train).banner(), h["val_accuracy"].back());
  CHECK(h["val_accuracy"].back() > 0.985);
}
