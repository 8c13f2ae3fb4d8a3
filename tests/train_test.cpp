// Training on the real MNIST: both models learn, on the rows that run by default and on each provider that trains whole
// models by itself.
#include "tests/support/catch.hpp"
#include "tests/support/mnist.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {

Trainer trainer(bool convolutional, const std::string& providers = {}) {
  const CompileOptions o = image_options(convolutional);
  return {convolutional ? cnn() : mlp(),
          {.loss = o.loss, .optimizer = o.optimizer, .metrics = o.metrics, .providers = providers, .seed = 1}};
}

/// Mean loss over the first and the last tenth of `steps` minibatches.
std::pair<double, double> losses(Trainer& t, const Dataset& data, std::int64_t batch, int steps) {
  Program& p = t.program(data);
  Loader loader(data, {.batch_size = batch, .seed = 1});
  double first = 0, last = 0;
  const int tenth = std::max(1, steps / 10);
  for (int i = 0; i < steps; ++i) {
    const double loss = p.step(*loader.next()).loss;
    if (i < tenth) first += loss / tenth;
    if (i >= steps - tenth) last += loss / tenth;
  }
  return {first, last};
}

/// One epoch of the perceptron. Means over minibatches, because with a rate of 0.2 single steps swing: over five seeds the
/// mean loss falls from 0.74..0.78 in the first tenth to 0.13..0.15 in the last.
void check_sweep(Trainer& t, const Dataset& data) {
  const auto [first, last] = losses(t, data, 64, 938);
  CHECK(first > 0.6);
  CHECK(last < 0.2);
}

}  // namespace

TEST_CASE("one sweep of MNIST teaches the perceptron", "[train]") {
  TENON_REQUIRE_MNIST(data);
  Trainer t = trainer(false);
  check_sweep(t, data.train);
  const History h = t.fit(data.train, {.batch_size = 64, .epochs = 1, .validation = data.test});
  CHECK(h.epochs[0].steps == 938);
  CHECK(h["accuracy"][0] > 0.95);  // of the second sweep
}

TEST_CASE("ten sweeps of CNTK's minibatches are 9375 updates", "[train]") {
  TENON_REQUIRE_MNIST(data);
  // The count only: a small model on the same data.
  Trainer t{nn::Sequential{nn::Flatten{}, nn::Dense{.units = 10}},
            {.loss = softmax_crossentropy, .optimizer = Sgd{.lr = 0.1f}}};
  const History h = t.fit(data.train, {.batch_size = 64, .epochs = 10, .updates = 9375});
  CHECK(h.summary.steps == 9375);
  CHECK(h.epochs.size() == 10);
  std::int64_t examples = 0;
  for (const EpochRecord& e : h.epochs) examples += e.examples;
  CHECK(examples == 600000);
}

TEST_CASE("one epoch of MNIST teaches the convolutional network", "[train]") {
  TENON_REQUIRE_MNIST(data);
  Trainer t = trainer(true);
  const History h =
      t.fit(data.train, {.batch_size = 128, .epochs = 1, .validation = data.test, .validation_batch = 500});
  CHECK(h.epochs[0].steps == 469);
  CHECK(h["val_accuracy"][0] > 0.975);
}

TEST_CASE("the reference trains both models by itself", "[train]") {
  TENON_REQUIRE_MNIST(data);
  Trainer convolutional = trainer(true, "reference");
  const auto [first, last] = losses(convolutional, data.train, 128, 20);
  CHECK(last < 0.75 * first);
  Trainer dense = trainer(false, "reference");
  check_sweep(dense, data.train);
}

TEST_CASE("Eigen trains both models by itself", "[train]") {
  TENON_REQUIRE_MNIST(data);
  Trainer convolutional = trainer(true, "cpu.eigen");
  const auto [first, last] = losses(convolutional, data.train, 128, 40);
  CHECK(last < 0.5 * first);
  Trainer dense = trainer(false, "cpu.eigen");
  check_sweep(dense, data.train);
}
