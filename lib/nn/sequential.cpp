// Sequential: layers one after the other, its architecture as JSON, and the summary table.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "lib/nn/trace.hpp"
#include "lib/ops/check.hpp"

namespace tenon::nn {
namespace {

using nlohmann::json;

[[noreturn]] void bad(const std::string& what) { throw CheckpointError("[architecture] " + what); }

Hw read_hw(const json& j) { return {j.at(0).get<std::int32_t>(), j.at(1).get<std::int32_t>()}; }

Padding read_padding(const json& j) {
  if (j == "valid") return Padding::valid();
  if (j == "same") return Padding::same();
  return Padding::of(j.at(0).get<std::int32_t>(), j.at(1).get<std::int32_t>(), j.at(2).get<std::int32_t>(),
                     j.at(3).get<std::int32_t>());
}

Activation read_activation(const json& j) {
  return Activation::named(j.at("activation").get<std::string>(), j.value("alpha", 0.f));
}

template <class Pool>
Pool read_pool(const json& j, const std::string& name) {
  return {.window = read_hw(j.at("window")),
          .stride = read_hw(j.at("stride")),
          .padding = read_padding(j.at("padding")),
          .name = name};
}

Layer read_layer(const json& j) {
  const std::string type = j.at("type").get<std::string>(), name = j.value("name", std::string{});
  const auto init = [&](const char* key) { return initializer_named(j.at(key).get<std::string>()); };
  if (type == "conv2d")
    return Conv2d{.filters = j.at("filters").get<std::int32_t>(),
                  .kernel = read_hw(j.at("kernel")),
                  .stride = read_hw(j.at("stride")),
                  .padding = read_padding(j.at("padding")),
                  .dilation = read_hw(j.at("dilation")),
                  .groups = j.at("groups").get<std::int32_t>(),
                  .activation = read_activation(j),
                  .use_bias = j.at("use_bias").get<bool>(),
                  .kernel_initializer = init("kernel_initializer"),
                  .bias_initializer = init("bias_initializer"),
                  .name = name};
  if (type == "dense")
    return Dense{.units = j.at("units").get<std::int32_t>(),
                 .activation = read_activation(j),
                 .use_bias = j.at("use_bias").get<bool>(),
                 .kernel_initializer = init("kernel_initializer"),
                 .bias_initializer = init("bias_initializer"),
                 .name = name};
  if (type == "max_pool2d") return read_pool<MaxPool2d>(j, name);
  if (type == "avg_pool2d") return read_pool<AvgPool2d>(j, name);
  if (type == "dropout") return Dropout{.rate = j.at("rate").get<float>(), .name = name};
  if (type == "flatten") return Flatten{.name = name};
  if (type == "activation") return ActivationLayer{.activation = read_activation(j), .name = name};
  bad(fmt::format("no layer type '{}' in this version", type));
}

/// Keras' class name for the summary's second word.
std::string class_name(const std::string& type) {
  if (type == "conv2d") return "Conv2D";
  if (type == "max_pool2d") return "MaxPooling2D";
  if (type == "avg_pool2d") return "AveragePooling2D";
  std::string name = type.empty() ? "Lambda" : type;
  name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
  return name;
}

std::string shape_text(const Shape& s) {
  std::string text = "(None";
  for (int i = 1; i < s.rank(); ++i) text += fmt::format(", {}", s[i]);
  return text + ")";
}

std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

}  // namespace

Sequential::Sequential(std::vector<Layer> layers)
    : layers_(std::move(layers)),
      parameters_(std::make_shared<Parameters>()),
      inputs_(std::make_shared<ModelInputs>()) {}

Tensor Sequential::operator()(Tensor x) const {
  for (const Layer& layer : layers_) x = layer(x);
  return x;
}

std::string Sequential::config() const {
  json list = json::array();
  for (const Layer& layer : layers_) {
    const std::string c = layer.config();
    if (c.empty()) return {};
    list.push_back(json::parse(c));
  }
  return list.dump();
}

Sequential Sequential::from_config(const std::string& text) {
  try {
    const json list = json::parse(text);
    if (!list.is_array()) bad("expects an array of layers");
    std::vector<Layer> layers;
    for (const json& j : list) layers.push_back(read_layer(j));
    return Sequential(std::move(layers));
  } catch (const json::exception& e) {
    bad(e.what());
  } catch (const UsageError& e) {
    bad(e.what());
  }
}

std::string Sequential::summary(Shape input, const std::string& name) const {
  const Model model(*this);
  if (!parameters_->sealed()) {
    model.inputs().specs = {{"x", input}};
    declare_parameters(model, DType::f32);
  }
  Graph g;
  g.dtype = parameters_->dtype();
  TraceContext context(g, *parameters_);
  Shape batched{1};
  for (const std::int64_t e : input.extents()) batched.push_back(e);
  Tensor x = g.input("x", {g.dtype, batched});

  const std::string line(65, '_'), double_line(65, '=');
  std::string text = fmt::format("Model: \"{}\"\n{}\n {:<28}{:<26}{:<10}\n{}\n", name, line, "Layer (type)",
                                 "Output Shape", "Param #", double_line);
  std::size_t seen = 0;
  for (const Layer& layer : layers_) {
    x = layer(x);
    std::int64_t count = 0;
    std::size_t used = 0;
    for (std::size_t i = 0; i < context.values().size(); ++i)
      if (context.values()[i] != no_value && ++used > seen) count += parameters_->list()[i].shape.elements();
    seen = std::max(seen, used);
    const std::string config = layer.config();
    const json j = config.empty() ? json{{"type", ""}, {"name", "lambda"}} : json::parse(config);
    const std::string type = j.at("type").get<std::string>();
    text += fmt::format(" {:<28}{:<26}{:<10}\n", fmt::format("{} ({})", j.value("name", type), class_name(type)),
                        shape_text(x.shape()), count);
  }
  const std::int64_t all = parameters_->count(), trainable = parameters_->trainable_count();
  const auto size = [&](std::int64_t n) {
    return fmt::format("{:.2f} MB", static_cast<double>(n * static_cast<std::int64_t>(size_of(g.dtype))) / (1 << 20));
  };
  return text + fmt::format("{}\nTotal params: {} ({})\nTrainable params: {} ({})\nNon-trainable params: {} ({})\n{}\n",
                            double_line, grouped(all), size(all), grouped(trainable), size(trainable),
                            grouped(all - trainable), size(all - trainable), line);
}

}  // namespace tenon::nn

namespace tenon {

Model::Model(std::function<Values(Values)> f, std::shared_ptr<Parameters> parameters)
    : f_(std::move(f)), parameters_(std::move(parameters)), inputs_(std::make_shared<ModelInputs>()) {}

Model::Model(const nn::Sequential& net)
    : Model(
          [net](const Values& in) {
            return Values{{"y", net(in.only())}};
          },
          net.shared_parameters()) {
  inputs_ = net.shared_inputs();
  config_ = [net] { return net.config(); };
}

}  // namespace tenon
