// The two models of the examples, and steps of them on synthetic images, so that bits can be compared everywhere.
#pragma once
#include <string>

#include "tenon/tenon.hpp"

namespace tenon::test {

inline nn::Sequential cnn() {
  return {nn::Conv2d{.filters = 32, .kernel = {3, 3}, .activation = relu},
          nn::Conv2d{.filters = 64, .kernel = {3, 3}, .activation = relu},
          nn::MaxPool2d{.window = {2, 2}},
          nn::Dropout{.25f},
          nn::Flatten{},
          nn::Dense{.units = 128, .activation = relu},
          nn::Dropout{.5f},
          nn::Dense{.units = 10, .activation = softmax}};
}

inline nn::Sequential mlp() {
  return {nn::Flatten{}, nn::Dense{.units = 400, .activation = relu}, nn::Dense{.units = 400, .activation = relu},
          nn::Dense{.units = 10}};
}

inline CompileOptions image_options(bool convolutional) {
  CompileOptions o;
  o.inputs = {{"image", {28, 28, 1}}};
  o.targets = {{"label", {}, DType::i32}};
  o.metrics = {{.criterion = accuracy}};
  o.run.seed = 3;
  if (convolutional) {
    o.loss = categorical_crossentropy;
    o.optimizer = Adadelta{.lr = 1, .rho = .95f, .epsilon = 1e-7f};
  } else {
    o.loss = softmax_crossentropy;
    o.optimizer = Sgd{.lr = 0.2f};
  }
  return o;
}

/// Procedural digits: real enough for a loss to fall.
inline const Dataset& digits() {
  static const Dataset data =
      load_mnist({.offline = true, .seed = 4, .synthetic_train = 4096, .synthetic_test = 64}).train;
  return data;
}

struct Outcome {
  std::uint64_t hash = 0;
  double loss = 0;
};

/// Trains `steps` minibatches from the seed's initial weights.
inline Outcome train(bool convolutional, int steps, std::int64_t batch, const Options& run, bool fuse = true) {
  const nn::Sequential net = convolutional ? cnn() : mlp();
  CompileOptions o = image_options(convolutional);
  const std::uint64_t seed = o.run.seed;
  o.run = run;
  o.run.seed = seed;
  o.run.fuse = fuse;
  Program p = compile(net, o);
  Loader loader(digits(), {.batch_size = batch, .seed = 1, .prefetch = false});
  Outcome out;
  std::uint32_t epoch = 0;
  loader.start_epoch(epoch);
  for (int i = 0; i < steps; ++i) {
    const Batch* b = loader.next();
    if (b == nullptr) {
      loader.start_epoch(++epoch);
      b = loader.next();
    }
    out.loss = p.step(*b).loss;
  }
  out.hash = net.parameters().hash();
  return out;
}

}  // namespace tenon::test
