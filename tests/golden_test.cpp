// Both models against PyTorch: gradients of one step and the parameters after three, from the same weights, batches and
// dropout masks (tests/golden/make_golden.py). In f64 they agree to 1e-11 of each tensor's largest value; in fp32 Tenon's
// error against f64 is at most four times PyTorch's own.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "tenon/io.hpp"
#include "tenon/program.hpp"
#include "tests/golden/golden.hpp"
#include "tests/support/catch.hpp"

namespace tenon {
namespace {

struct Setup {
  std::string file;
  nn::Sequential net;
  std::vector<golden::Parameter> parameters;
  Shape image;  // of one sample
  std::int64_t batch, most_coordinates;
  Optimizer optimizer;
};

Setup mlp() {
  return {"mlp.safetensors",
          {nn::Dense{.units = 400, .activation = relu, .name = "h1"},
           nn::Dense{.units = 400, .activation = relu, .name = "h2"}, nn::Dense{.units = 10, .name = "out"}},
          {{"h1.kernel", {784, 400}, 9, 7},
           {"h1.bias", {400}, 4, 6},
           {"h2.kernel", {400, 400}, 11, 7},
           {"h2.bias", {400}, 4, 6},
           {"out.kernel", {400, 10}, 15, 7},
           {"out.bias", {10}, 4, 6}},
          {784},
          64,
          1096,
          Sgd{.lr = 0.2f}};
}

Setup cnn() {
  return {"cnn.safetensors",
          {nn::Conv2d{.filters = 32, .activation = relu, .name = "c1"},
           nn::Conv2d{.filters = 64, .activation = relu, .name = "c2"}, nn::MaxPool2d{}, nn::Dropout{.25f},
           nn::Flatten{}, nn::Dense{.units = 128, .activation = relu, .name = "d1"}, nn::Dropout{.5f},
           nn::Dense{.units = 10, .activation = softmax, .name = "out"}},
          {{"c1.kernel", {3, 3, 1, 32}, 9, 6},
           {"c1.bias", {32}, 4, 6},
           {"c2.kernel", {3, 3, 32, 64}, 10, 7},
           {"c2.bias", {64}, 4, 6},
           {"d1.kernel", {9216, 128}, 13, 9},
           {"d1.bias", {128}, 4, 6},
           {"out.kernel", {128, 10}, 13, 6},
           {"out.bias", {10}, 4, 6}},
          {28, 28, 1},
          32,
          1192,
          Adadelta{.lr = 1.f, .rho = 0.95f, .epsilon = 1e-7f}};
}

using Tensors = std::map<std::string, Array>;

Tensors golden_file(const std::string& name) {
  Tensors all;
  for (auto& [key, array] :
       read_safetensors((std::filesystem::path(TENON_SOURCE_DIR) / "tests/golden" / name).string()).tensors)
    all[key] = array;
  return all;
}

struct Trained {
  std::vector<double> losses;
  Tensors gradients, parameters;
};

Trained train(const Setup& s, DType dtype, const std::string& providers) {
  const Model model(s.net);
  const bool logits = s.file.starts_with("mlp");
  Program program =
      compile(model, {.inputs = {{"x", s.image}},
                      .targets = {{"label", {}, DType::i32}},
                      .loss = logits ? softmax_crossentropy : categorical_crossentropy,
                      .optimizer = s.optimizer,
                      .run = {.device = "cpu", .providers = providers, .seed = golden::seed, .dtype = dtype}});
  for (std::uint32_t t = 0; t < s.parameters.size(); ++t)
    program.parameters().set(s.parameters[t].name, golden::weights(s.parameters[t], t, dtype));
  Trained result;
  Shape shape{s.batch};
  for (const std::int64_t e : s.image.extents()) shape.push_back(e);
  for (std::uint32_t step = 0; step < golden::steps; ++step) {
    const Batch batch{{golden::images(step, shape, dtype)}, {golden::labels(step, s.batch)}, s.batch};
    result.losses.push_back(program.step(batch).loss);
    for (const golden::Parameter& p : s.parameters)
      if (step == 0) result.gradients[p.name] = program.gradient(p.name);
  }
  for (const golden::Parameter& p : s.parameters) result.parameters[p.name] = program.parameters().get(p.name);
  return result;
}

double norm(const Array& a) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += a.at(i) * a.at(i);
  return std::sqrt(sum);
}

/// Largest difference at the sampled coordinates, and its root mean square.
struct Difference {
  double largest = 0, rms = 0;
};
Difference difference(const Array& found, const std::vector<std::int64_t>& at, const Array& expected) {
  Difference d;
  for (std::size_t j = 0; j < at.size(); ++j) {
    const double e = std::abs(found.at(at[j]) - expected.at(static_cast<std::int64_t>(j)));
    d.largest = std::max(d.largest, e);
    d.rms += e * e / static_cast<double>(at.size());
  }
  d.rms = std::sqrt(d.rms);
  return d;
}

double largest(const Array& a) {
  double m = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) m = std::max(m, std::abs(a.at(i)));
  return m;
}

std::vector<std::int64_t> all_of(std::int64_t n) {
  std::vector<std::int64_t> c;
  for (std::int64_t i = 0; i < n; ++i) c.push_back(i);
  return c;
}

void check_f64(const Setup& s) {
  constexpr double tolerance = 1e-11;
  Tensors expected = golden_file(s.file);
  const Trained found = train(s, DType::f64, "reference");
  for (std::size_t i = 0; i < found.losses.size(); ++i)
    CHECK(std::abs(found.losses[i] - expected["loss64"].at(static_cast<std::int64_t>(i))) <=
          tolerance * found.losses[i]);
  for (const char* kind : {"gradient", "parameter"})
    for (std::uint32_t t = 0; t < s.parameters.size(); ++t) {
      const std::string& name = s.parameters[t].name;
      const Array& array = (kind == std::string("gradient") ? found.gradients : found.parameters).at(name);
      const Array& values = expected.at(fmt::format("{}64.{}", kind, name));
      const auto at = golden::coordinates(t, array.size(), s.most_coordinates);
      REQUIRE(static_cast<std::int64_t>(at.size()) == values.size());
      const double scale = largest(values), n = expected.at(fmt::format("{}64.norms", kind)).at(t);
      INFO(kind << " " << name << ": off by " << difference(array, at, values).largest / scale);
      CHECK(scale > 0);
      CHECK(difference(array, at, values).largest <= tolerance * scale);
      CHECK(std::abs(norm(array) - n) <= tolerance * n);
    }
}

void check_fp32(const Setup& s, const std::string& providers) {
  Tensors expected = golden_file(s.file);
  const Trained found = train(s, DType::f32, providers);
  fmt::print("\n{}, fp32 error against f64 (root mean square): Tenon {}, PyTorch, ratio\n", s.file,
             providers.empty() ? "(best rows)" : providers);
  for (const char* kind : {"gradient", "parameter"})
    for (std::uint32_t t = 0; t < s.parameters.size(); ++t) {
      const std::string& name = s.parameters[t].name;
      const Array& array = (kind == std::string("gradient") ? found.gradients : found.parameters).at(name);
      const Array &exact = expected.at(fmt::format("{}64.{}", kind, name)),
                  &theirs = expected.at(fmt::format("{}32.{}", kind, name));
      const auto at = golden::coordinates(t, array.size(), s.most_coordinates);
      // An error below one rounding of the values says nothing.
      const double rounding = 0x1p-24 * norm(exact) / std::sqrt(static_cast<double>(exact.size()));
      const double own = difference(array, at, exact).rms, other = difference(theirs, all_of(theirs.size()), exact).rms;
      fmt::print("  {:9} {:10}  {:.2e}  {:.2e}  {:5.2f}\n", kind, name, own, other, own / std::max(other, rounding));
      INFO(kind << " " << name << ": " << own << ", PyTorch's " << other);
      CHECK(own <= 4 * std::max(other, rounding));
    }
}

}  // namespace

TEST_CASE("the MLP in f64 trains as PyTorch's does", "[golden][mlp]") { check_f64(mlp()); }
TEST_CASE("the CNN in f64 trains as PyTorch's does", "[golden][cnn]") { check_f64(cnn()); }
TEST_CASE("the MLP in fp32 is as close to f64 as PyTorch's", "[golden][mlp]") { check_fp32(mlp(), ""); }
TEST_CASE("the CNN in fp32 is as close to f64 as PyTorch's", "[golden][cnn]") { check_fp32(cnn(), ""); }

}  // namespace tenon
