// Layers: plain callables Tensor -> Tensor that declare parameters. A copy of a layer shares its weights; clone() does
// not. No layer has a backward: gradients come from the graph.
#pragma once
#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tenon/inputs.hpp"
#include "tenon/ops.hpp"
#include "tenon/parameters.hpp"

namespace tenon {
class Model;
}

namespace tenon::nn {

struct LayerState;
/// What copies of a layer share: its name in the model and its place in the parameters.
class Handle {
 public:
  Handle();
  [[nodiscard]] LayerState& state() const { return *state_; }

 private:
  std::shared_ptr<LayerState> state_;
};

/// x (n,h,w,c) -> activation(conv2d(x, kernel (kh,kw,c/groups,filters)) + bias)
struct Conv2d {
  std::int32_t filters = 0;
  Hw kernel{3, 3};
  Hw stride{1, 1};
  Padding padding{};
  Hw dilation{1, 1};
  std::int32_t groups = 1;
  Activation activation = linear;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform;
  Initializer bias_initializer = zeros;
  std::string name{};
  Handle handle{};

  Tensor operator()(Tensor x) const;
  [[nodiscard]] Conv2d clone() const;
  [[nodiscard]] std::string config() const;
};

/// x (..., c) -> activation(x kernel (c,units) + bias)
struct Dense {
  std::int32_t units = 0;
  Activation activation = linear;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform;
  Initializer bias_initializer = zeros;
  std::string name{};
  Handle handle{};

  Tensor operator()(Tensor x) const;
  [[nodiscard]] Dense clone() const;
  [[nodiscard]] std::string config() const;
};

struct MaxPool2d {
  Hw window{2, 2};
  Hw stride{0, 0};  // 0: the window
  Padding padding{};
  std::string name{};
  Handle handle{};
  Tensor operator()(Tensor x) const;
  [[nodiscard]] std::string config() const;
};

struct AvgPool2d {
  Hw window{2, 2};
  Hw stride{0, 0};
  Padding padding{};
  std::string name{};
  Handle handle{};
  Tensor operator()(Tensor x) const;
  [[nodiscard]] std::string config() const;
};

struct Dropout {
  float rate = 0.5f;
  std::string name{};
  Handle handle{};
  Tensor operator()(Tensor x) const;
  [[nodiscard]] std::string config() const;
};

struct Flatten {
  std::string name{};
  Handle handle{};
  Tensor operator()(Tensor x) const;
  [[nodiscard]] std::string config() const;
};

/// An activation as a layer with a name of its own; plain `relu` in a Sequential does the same.
struct ActivationLayer {
  Activation activation = linear;
  std::string name{};
  Handle handle{};
  Tensor operator()(Tensor x) const;
  [[nodiscard]] std::string config() const;
};

/// Any callable Tensor -> Tensor; layers of this file keep their configuration, so that a model can be saved.
class Layer {
 public:
  template <class F>
  requires std::invocable<const F&, Tensor> &&(!std::same_as<std::decay_t<F>, Layer>)Layer(F f)
      : call_(f) {  // NOLINT: every callable is a layer
    if constexpr (requires { f.config(); }) config_ = [f] { return f.config(); };
    if constexpr (std::same_as<std::decay_t<F>, Activation>) *this = Layer(ActivationLayer{.activation = f});
  }
  Tensor operator()(Tensor x) const { return call_(x); }
  /// JSON of the layer; empty for a callable that has none.
  [[nodiscard]] std::string config() const { return config_ ? config_() : std::string{}; }

 private:
  std::function<Tensor(Tensor)> call_;
  std::function<std::string()> config_;
};

/// Layers one after the other. Copies share the weights.
class Sequential {
 public:
  Sequential(std::initializer_list<Layer> layers) : Sequential(std::vector<Layer>(layers)) {}
  explicit Sequential(std::vector<Layer> layers);

  Tensor operator()(Tensor x) const;
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] Parameters& parameters() const { return *parameters_; }
  [[nodiscard]] std::shared_ptr<Parameters> shared_parameters() const { return parameters_; }
  [[nodiscard]] std::shared_ptr<ModelInputs> shared_inputs() const { return inputs_; }
  /// JSON array of the layers, or empty when one of them cannot be written down.
  [[nodiscard]] std::string config() const;
  /// Inverse of config(). Throws CheckpointError.
  static Sequential from_config(const std::string& json);
  /// Table of layers, output shapes and parameter counts, as Keras prints it. `input` is without the batch axis.
  [[nodiscard]] std::string summary(Shape input, const std::string& name = "sequential") const;
  /// Rebuilds the model that a file holds (see io.hpp). Throws CheckpointError or IoError.
  static Sequential load(const std::string& path);

 private:
  std::vector<Layer> layers_;
  std::shared_ptr<Parameters> parameters_;
  std::shared_ptr<ModelInputs> inputs_;
};

/// State that a step writes, as batch norm needs it: a tensor that holds its last value.
[[nodiscard]] Tensor state(Tensor like, const std::string& name, Shape shape, Initializer init = zeros);
/// After a training step: state = momentum * state + (1 - momentum) * value.
void assign(Tensor state, Tensor value, float momentum = 0.f);
/// A trainable parameter for layers of your own, named in the scope of the model.
[[nodiscard]] Tensor parameter(Tensor like, const std::string& name, Shape shape, Initializer init = glorot_uniform);
/// True while a training step is traced.
[[nodiscard]] bool training(Tensor like);

}  // namespace tenon::nn
