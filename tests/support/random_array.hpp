// Operands for gradient checks, the same on every run.
#pragma once
#include <random>

#include "tenon/array.hpp"

namespace tenon::test {

/// f64, uniform in [low, high).
inline Array random(const Shape& shape, unsigned seed = 1, double low = -1, double high = 1) {
  std::mt19937_64 rng(seed * 7919 + static_cast<unsigned>(shape.elements()));
  std::uniform_real_distribution<double> draw(low, high);
  Array a(DType::f64, shape);
  for (double& v : a.values<double>()) v = draw(rng);
  return a;
}

}  // namespace tenon::test
