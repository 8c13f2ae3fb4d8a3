// Optimizers and learning-rate schedules, as plain attribute structs. Formulas: kernels/common/update.hpp.
#pragma once
#include <cstdint>
#include <variant>

namespace tenon {

/// A learning rate: a number, or a function of the number of finished updates.
class LearningRate {
 public:
  enum class Kind : std::uint8_t { constant, cosine, exponential, step, ramp };
  LearningRate(float value) : base_(value) {}  // NOLINT: a float is a learning rate
  LearningRate(double value) : base_(static_cast<float>(value)) {}
  LearningRate(int value) : base_(static_cast<float>(value)) {}
  LearningRate(Kind kind, float base, float other, std::int64_t length)
      : kind_(kind), base_(base), other_(other), length_(length) {}

  [[nodiscard]] float at(std::int64_t update) const;
  /// The same schedule after a linear climb from 0 over the first `updates`.
  [[nodiscard]] LearningRate warmed_up(std::int64_t updates) const;

 private:
  Kind kind_ = Kind::constant;
  float base_ = 0.f, other_ = 0.f;
  std::int64_t length_ = 1, warmup_ = 0;
};

/// Half a cosine from `base` to `last` over `updates`, then `last`.
[[nodiscard]] LearningRate cosine(float base, std::int64_t updates, float last = 0.f);
/// base * rate^(update / updates)
[[nodiscard]] LearningRate exponential(float base, float rate, std::int64_t updates);
/// base * gamma^floor(update / every)
[[nodiscard]] LearningRate step_decay(float base, float gamma, std::int64_t every);
/// A line from `base` to `last` over `updates`, then `last`.
[[nodiscard]] LearningRate linear_decay(float base, std::int64_t updates, float last = 0.f);

struct Sgd {
  LearningRate lr = 0.01f;
  float momentum = 0.f;
  bool nesterov = false;
  float weight_decay = 0.f;
};

/// Zeiler 2012, arXiv:1212.5701. Dialects differ in their defaults, so the presets name them.
struct Adadelta {
  LearningRate lr = 1.f;
  float rho = 0.95f, epsilon = 1e-7f, weight_decay = 0.f;
  static Adadelta keras1() { return {.lr = 1.f, .rho = 0.95f, .epsilon = 1e-7f}; }
  static Adadelta keras3() { return {.lr = 1e-3f, .rho = 0.95f, .epsilon = 1e-7f}; }
  static Adadelta torch() { return {.lr = 1.f, .rho = 0.9f, .epsilon = 1e-6f}; }
};

/// Duchi et al. 2011.
struct Adagrad {
  LearningRate lr = 1e-2f;
  float epsilon = 1e-7f, initial_accumulator = 0.f, weight_decay = 0.f;
  static Adagrad keras1() { return {.lr = 1e-2f, .epsilon = 1e-7f}; }
  static Adagrad keras3() { return {.lr = 1e-3f, .epsilon = 1e-7f, .initial_accumulator = 0.1f}; }
  static Adagrad torch() { return {.lr = 1e-2f, .epsilon = 1e-10f}; }
};

/// Hinton, Coursera lecture 6e.
struct RmsProp {
  LearningRate lr = 1e-3f;
  float rho = 0.9f, momentum = 0.f, epsilon = 1e-7f;
  bool epsilon_inside = true;  // g / sqrt(v + eps); else g / (sqrt(v) + eps)
  float weight_decay = 0.f;
  static RmsProp keras1() { return {.epsilon_inside = false}; }
  static RmsProp keras3() { return {}; }
  static RmsProp torch() { return {.lr = 1e-2f, .rho = 0.99f, .epsilon = 1e-8f, .epsilon_inside = false}; }
};

/// Kingma and Ba 2014, arXiv:1412.6980.
struct Adam {
  LearningRate lr = 1e-3f;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-7f, weight_decay = 0.f;
  static Adam keras1() { return {}; }
  static Adam keras3() { return {}; }
  static Adam torch() { return {.epsilon = 1e-8f}; }
};

/// Loshchilov and Hutter 2017, arXiv:1711.05101: decay apart from the gradient.
struct AdamW {
  LearningRate lr = 1e-3f;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-7f, weight_decay = 0.004f;
  static AdamW keras3() { return {}; }
  static AdamW torch() { return {.epsilon = 1e-8f, .weight_decay = 0.01f}; }
};

using Optimizer = std::variant<Sgd, Adadelta, Adagrad, RmsProp, Adam, AdamW>;

[[nodiscard]] const LearningRate& learning_rate(const Optimizer&);
[[nodiscard]] const char* name_of(const Optimizer&);

}  // namespace tenon
