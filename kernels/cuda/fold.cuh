// How elements enter a chain (`step`), how two results meet (`join`), and what becomes of the last one (a functor), for
// every kernel that folds many elements into one. Chains begin with `identity`.
#pragma once
#include "kernels/common/math.hpp"
#include "kernels/common/update.hpp"
#include "kernels/cuda/device.cuh"

namespace tenon::cuda {

struct Sum {
  static constexpr bool ordered = true;  // the order of kernels/common/order.hpp decides the bits
  static constexpr float identity = 0.f;
  __device__ static float step(float acc, float x) { return acc + x; }
  __device__ static float join(float a, float b) { return a + b; }
};
struct SumOfSquares : Sum {
  __device__ static float step(float acc, float x) { return math::Scalar::fma(x, x, acc); }
};
/// The first of equals stays, a NaN wins and stays. Any order gives the same value.
struct Max {
  static constexpr bool ordered = false;
  static constexpr float identity = -__builtin_inff();
  __device__ static float step(float acc, float x) { return x > acc || (x != x && acc == acc) ? x : acc; }
  __device__ static float join(float a, float b) { return step(a, b); }
};
struct Min {
  static constexpr bool ordered = false;
  static constexpr float identity = __builtin_inff();
  __device__ static float step(float acc, float x) { return x < acc || (x != x && acc == acc) ? x : acc; }
  __device__ static float join(float a, float b) { return step(a, b); }
};

struct AsItIs {
  __device__ float operator()(float x) const { return x; }
};
struct DividedBy {
  float n;
  __device__ float operator()(float x) const { return x / n; }
};
struct ClipScale {
  float max_norm;
  __device__ float operator()(float squares) const {
    return update::clip_scale<math::Scalar>(max_norm, math::Scalar::sqrt(squares));
  }
};

}  // namespace tenon::cuda
