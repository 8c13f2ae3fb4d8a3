// Learning-rate schedules and names.
#include "tenon/optim.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tenon {

float LearningRate::at(std::int64_t update) const {
  const double t = static_cast<double>(update), n = static_cast<double>(std::max<std::int64_t>(length_, 1));
  const double base = base_, other = other_;
  double lr = base;
  switch (kind_) {
    case Kind::constant:
      break;
    case Kind::cosine:
      lr = other + (base - other) * 0.5 * (1 + std::cos(std::numbers::pi * std::min(t / n, 1.0)));
      break;
    case Kind::exponential:
      lr = base * std::pow(other, t / n);
      break;
    case Kind::step:
      lr = base * std::pow(other, std::floor(t / n));
      break;
    case Kind::ramp:
      lr = base + (other - base) * std::min(t / n, 1.0);
      break;
  }
  if (update < warmup_) lr *= (t + 1) / static_cast<double>(warmup_);
  return static_cast<float>(lr);
}

LearningRate LearningRate::warmed_up(std::int64_t updates) const {
  LearningRate lr = *this;
  lr.warmup_ = updates;
  return lr;
}

LearningRate cosine(float base, std::int64_t updates, float last) {
  return {LearningRate::Kind::cosine, base, last, updates};
}
LearningRate exponential(float base, float rate, std::int64_t updates) {
  return {LearningRate::Kind::exponential, base, rate, updates};
}
LearningRate step_decay(float base, float gamma, std::int64_t every) {
  return {LearningRate::Kind::step, base, gamma, every};
}
LearningRate linear_decay(float base, std::int64_t updates, float last) {
  return {LearningRate::Kind::ramp, base, last, updates};
}

const LearningRate& learning_rate(const Optimizer& optimizer) {
  return std::visit([](const auto& o) -> const LearningRate& { return o.lr; }, optimizer);
}

const char* name_of(const Optimizer& optimizer) {
  constexpr const char* names[] = {"sgd", "adadelta", "adagrad", "rmsprop", "adam", "adamw"};
  return names[optimizer.index()];
}

}  // namespace tenon
