// Strips: steps that run a few samples at a time, and cheap nodes that are computed twice for them. No bit may change.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tenon/backend.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {

bool strips_here() { return backend("cpu").canonical(); }

/// Operations of the plan for training steps of a batch.
std::vector<std::string> operations(const Model& model, CompileOptions o, std::int64_t batch) {
  Program p = compile(model, std::move(o));
  std::vector<std::string> list;
  for (const PlanEntry& e : p.plan(Program::Mode::train, batch)) list.push_back(e.op);
  return list;
}
bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::ranges::find(list, word) != list.end();
}

struct Result {
  std::uint64_t hash = 0;
  double loss = 0, evaluated = 0;
  std::vector<float> predicted;
};
/// Some steps of a net on digits, then an evaluation and a prediction.
Result results(const std::function<nn::Sequential()>& make, std::int64_t batch, Options run) {
  const nn::Sequential net = make();
  CompileOptions o = image_options(true);
  run.seed = o.run.seed;
  o.run = run;
  Program p = compile(net, o);
  Loader loader(digits(), {.batch_size = batch, .seed = 1, .prefetch = false});
  loader.start_epoch(0);
  Result r;
  for (int i = 0; i < 3; ++i) r.loss = p.step(*loader.next()).loss;
  r.hash = net.parameters().hash();
  const Batch& b = *loader.next();
  r.evaluated = p.evaluate(b).loss;
  const std::vector<Array> y = p.predict(b.inputs);
  r.predicted.assign(y[0].values<float>().begin(), y[0].values<float>().end());
  return r;
}
void check_same(const std::function<nn::Sequential()>& make, std::int64_t batch, const Options& run) {
  Options apart = run;
  apart.fuse = false;
  const Result whole = results(make, batch, apart);
  for (const int threads : {1, 2, 3}) {
    INFO(threads << " threads, batch " << batch);
    Options with = run;
    with.threads = threads;
    const Result strips = results(make, batch, with);
    CHECK(strips.hash == whole.hash);
    CHECK(strips.loss == whole.loss);
    CHECK(strips.evaluated == whole.evaluated);
    CHECK(strips.predicted == whole.predicted);
  }
}

/// Dropout without a pool, whose mask is drawn inside strips, and three convolutions in a row.
nn::Sequential unpooled() {
  return {nn::Conv2d{.filters = 24, .kernel = {3, 3}, .activation = relu},
          nn::Conv2d{.filters = 24, .kernel = {3, 3}, .activation = relu},
          nn::Dropout{.3f},
          nn::Conv2d{.filters = 16, .kernel = {3, 3}, .stride = {2, 2}, .activation = tenon::tanh},
          nn::Flatten{},
          nn::Dense{.units = 10, .activation = softmax}};
}

}  // namespace

TEST_CASE("convolutions and their gradients run in strips", "[strips]") {
  if (!strips_here()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  CompileOptions o = image_options(true);
  o.run.threads = 2;
  const std::vector<std::string> list = operations(cnn(), o, 48);
  CHECK(contains(list, "conv2d +1"));
  CHECK(contains(list, "conv2d_grad_filter +3"));
  CHECK_FALSE(contains(list, "conv2d"));
  // Two strips for every thread, and 2 MiB that would go through memory: else whole batches.
  CHECK(contains(operations(cnn(), o, 31), "conv2d"));
  o.run.threads = 1;
  CHECK(contains(operations(cnn(), o, 16), "conv2d"));
  o.run.fuse = false;
  CHECK_FALSE(contains(operations(cnn(), o, 48), "conv2d +1"));
}

TEST_CASE("what somebody reads stays in memory", "[strips]") {
  if (!strips_here()) return;
  const nn::Conv2d first{.filters = 32, .kernel = {3, 3}, .activation = relu},
      second{.filters = 64, .kernel = {3, 3}, .activation = relu};
  const nn::Dense head{.units = 10, .activation = softmax};
  const Model model{[=](Values in) {
    const Tensor hidden = first(in["image"]);
    const Tensor pooled = max_pool2d(second(hidden), {.window = {2, 2}});
    return Values{{"hidden", hidden}, {"class", head(flatten(pooled))}};
  }};
  CompileOptions o = image_options(true);
  o.run.threads = 1;
  o.targets[0].name = "class";
  o.loss = [](Values y, Values t) { return categorical_crossentropy(y["class"], t["class"]); };
  o.metrics = {{.output = "class", .criterion = accuracy}};
  CHECK(contains(operations(model, o, 48), "conv2d +1"));
  o.observe = {"hidden"};
  CHECK_FALSE(contains(operations(model, o, 48), "conv2d +1"));
}

TEST_CASE("strips have the bits of whole batches", "[strips][bits]") {
  for (const std::int64_t batch : {64, 53}) {  // whole strips, and a last one of five samples
    check_same(cnn, batch, {});
    check_same(unpooled, batch, {});
  }
}

TEST_CASE("strips of tf32 and bf16 are the same for every number of threads", "[strips][bits]") {
  for (const char* precision : {"tf32", "bf16"}) {
    const Result one = results(cnn, 53, {.precision = precision, .threads = 1});
    for (const int threads : {2, 3}) {
      INFO(precision << ", " << threads << " threads");
      const Result more = results(cnn, 53, {.precision = precision, .threads = threads});
      CHECK(more.hash == one.hash);
      CHECK(more.predicted == one.predicted);
    }
  }
}
