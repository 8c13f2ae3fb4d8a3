// An operation of your own, from its formula to a trained model: swish, y = x s with s = 1 / (1 + e^(-b x)); b = 1.702
// makes it the sigmoid form of gelu (Hendrycks and Gimpel 2016). The library is told
//   the shape rule   the output is like the input
//   the gradient     dy/dx = s + b y (1 - s), in terms of tensors: other operations compute it
//   the definition   plain loops over doubles: what everything else is checked against
//   a kernel         floats, one loop, OpenMP; without one the definition runs
#include <cmath>
#include <cstdio>
#include <string_view>

#include "tenon/custom_op.hpp"
#include "tenon/tenon.hpp"

namespace {

using namespace tenon;

constexpr float b = 1.702f;

Tensor gradient(Tensor x, Tensor y, Tensor gy) {
  const Tensor s = sigmoid(b * x);
  return gy * (s + b * y * (1.f - s));
}
Tensor gradient_without_a_term(Tensor x, Tensor, Tensor gy) { return gy * sigmoid(b * x); }

void definition(std::span<const double> x, std::span<double> y) {
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] / (1 + std::exp(-double{b} * x[i]));
}

void run_cpu(const Call& call) {
  const auto* x = static_cast<const float*>(call.in[0]);
  auto* y = static_cast<float*>(call.out[0]);
  const std::int64_t n = state_of<std::int64_t>(call);  // what bind_cpu() prepared
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] / (1.f + std::exp(-b * x[i]));
}

/// Sees the problem before anything runs. What it refuses goes to the next row: here, f64 to the definition.
Bound bind_cpu(const Problem& problem, const Kernel&) {
  const TensorSpec& x = problem.in[0];
  if (x.dtype != DType::f32) return Refusal{"expects f32, found " + x.str()};
  return make_step(run_cpu, x.shape.elements());
}

CustomFunction define_swish(bool wrong_gradient) {
  const auto rule = wrong_gradient ? gradient_without_a_term : gradient;
  return define_op({.name = "swish",
                    .infer = same_shape,
                    .vjp = [rule](const CustomVjp& v) -> std::vector<Tensor> {
                      return {rule(v.inputs[0], v.outputs[0], v.grads[0])};
                    },
                    .reference = [](auto in, auto out) { definition(in[0], out[0]); },
                    .kernels = {{"user.cpu", bind_cpu}}});
}

bool check(const CustomFunction& swish) {
  Array x(DType::f64, {4, 25});
  double next = -4;
  for (double& v : x.values<double>()) v = next += 0.08;
  const GradReport gradients = gradcheck(swish, {x});
  std::puts(gradients.text.c_str());
  const ProviderReport kernels = check_providers(swish, {{DType::f32, {33, 65}}}, {.low = -8, .high = 8});
  std::puts(kernels.text.c_str());
  return gradients.ok && kernels.ok;
}

/// 32 x 32 points of a square; class 1 lies inside a circle.
Dataset disc() {
  std::vector<float> points;
  std::vector<std::int32_t> inside;
  for (int i = 0; i < 1024; ++i) {
    const float p = static_cast<float>(i % 32) / 15.5f - 1.f, q = static_cast<float>(i / 32) / 15.5f - 1.f;
    points.insert(points.end(), {p, q});
    inside.push_back(p * p + q * q < 0.5f ? 1 : 0);
  }
  return {Array::of(points, {1024, 2}), Array::of(inside, {1024})};
}

/// A custom operation is a layer like any other.
bool train(const CustomFunction& swish) {
  const Dataset data = disc();
  const nn::Sequential net{nn::Dense{.units = 16}, swish, nn::Dense{.units = 2, .activation = softmax}};
  Trainer trainer{net,
                  {.loss = categorical_crossentropy,
                   .optimizer = Adam{.lr = 0.02f},
                   .metrics = {{.criterion = accuracy}},
                   .seed = 1}};
  trainer.fit(data, {.batch_size = 64, .epochs = 30});
  for (const PlanEntry& step : trainer.program(data).plan(Program::Mode::train, 64))
    if (step.provider == "user.cpu")
      std::printf("in the plan: %s %s on %s\n", step.op.c_str(), step.shape.c_str(), step.provider.c_str());
  const double right = trainer.evaluate(data)["accuracy"];
  std::printf("inside the circle or not: %.1f %% right\n", 100 * right);
  return right > 0.97;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string_view flag = argc == 2 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && flag != "--wrong-gradient")) {
    const bool help = flag == "--help";
    std::fputs(
        "Usage: custom_op [--wrong-gradient]\n"
        "Defines the operation swish, checks its gradient and its kernel, and trains a small model with it.\n"
        "  --wrong-gradient   leave a term out of the gradient, to see gradcheck find it\n"
        "Exit codes: 0 all is well, 2 wrong usage, 6 a check failed.\n",
        help ? stdout : stderr);
    return help ? 0 : static_cast<int>(ExitCode::usage);
  }
  const CustomFunction swish = define_swish(!flag.empty());
  return check(swish) && train(swish) ? 0 : static_cast<int>(ExitCode::numeric);
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return static_cast<int>(e.code());
}
