// How the programs train the two MNIST models: data, loss, optimizer and metric as in examples/mnist.
#pragma once
#include <cstdio>
#include <optional>
#include <string>

#include "bench/support/models.hpp"
#include "tenon/data.hpp"

namespace tenon::bench {

/// The CNN's targets, as its seed has them: 1 for the digit, 0 elsewhere.
inline Dataset one_hot(const Dataset& digits) {
  const Array& labels = digits.targets().at(0).second.data;
  Array rows(DType::f32, {digits.size(), 10});
  const auto to = rows.values<float>();
  for (std::int64_t i = 0; i < digits.size(); ++i)
    to[static_cast<std::size_t>(10 * i) + static_cast<std::size_t>(labels.at(i))] = 1.f;
  return Dataset(digits.inputs(), {{digits.targets()[0].first, Column{rows}}});
}

/// The images and digits in a folder, or where load_mnist looks by itself; no network. What it has to say goes to stderr.
inline MnistData load_data(const std::optional<std::string>& folder) {
  return load_mnist({.data_folder = folder, .offline = true, .log = [](const std::string& line) {
                       std::fprintf(stderr, "%s\n", line.c_str());
                     }});
}

struct Recipe {
  std::int64_t batch;
  Loss loss;
  Optimizer optimizer;
  Metric metric;
  bool one_hot;

  /// Digits with the targets that the loss wants.
  [[nodiscard]] Dataset data(const Dataset& digits) const { return one_hot ? bench::one_hot(digits) : digits; }
};

/// Of `cnn` or `mlp`.
inline Recipe recipe(const std::string& model) {
  if (model == "cnn")
    return {128,
            categorical_crossentropy,
            Adadelta{.lr = 1.f, .rho = 0.95f, .epsilon = 1e-7f},
            {.output = "", .criterion = accuracy},
            true};
  return {64, softmax_crossentropy, Sgd{.lr = 0.2f}, {.output = "", .criterion = error_rate}, false};
}

}  // namespace tenon::bench
