// The two MNIST networks of the examples, and the flag --tune, for the programs that time them.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "tenon/nn.hpp"
#include "tenon/program.hpp"

namespace tenon::bench {

inline nn::Sequential make_cnn() {
  return nn::Sequential{nn::Conv2d{.filters = 32, .kernel = {3, 3}, .activation = relu},
                        nn::Conv2d{.filters = 64, .kernel = {3, 3}, .activation = relu},
                        nn::MaxPool2d{.window = {2, 2}},
                        nn::Dropout{.rate = 0.25f},
                        nn::Flatten{},
                        nn::Dense{.units = 128, .activation = relu},
                        nn::Dropout{.rate = 0.5f},
                        nn::Dense{.units = 10, .activation = softmax}};
}

inline nn::Sequential make_mlp() {
  return nn::Sequential{nn::Flatten{}, nn::Dense{.units = 400, .activation = relu},
                        nn::Dense{.units = 400, .activation = relu}, nn::Dense{.units = 10}};
}

/// `cnn` or `mlp`.
inline nn::Sequential make_net(const std::string& model) { return model == "cnn" ? make_cnn() : make_mlp(); }

/// What --tune asks for: with a file, choices from it where it is there, and all choices in it afterwards.
inline Tune tune_options(const std::optional<std::string>& flag) {
  if (!flag) return {};
  std::error_code none;
  return {.measure = true, .read = std::filesystem::exists(*flag, none) ? *flag : "", .write = *flag};
}

}  // namespace tenon::bench
