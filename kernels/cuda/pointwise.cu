// unary        y = f(x)
// unary_grad   gx = gy f'(saved), saved x or y; formulas in kernels/common/pointwise.hpp
// binary       y = a op b, broadcast by strides
// The host chooses the function, so that a kernel holds one. Threads own four neighbours, for binary along the
// innermost axis, where an operand is contiguous or one value; single elements where rows do not start on 16 bytes.
#include "kernels/common/pointwise.hpp"

#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

template <class F>
struct Value {
  F f;
  __device__ float operator()(float x) const { return f.value(x); }
};
template <class F>
struct Gradient {
  F f;
  __device__ float operator()(float gy, float saved) const { return f.gradient(gy, saved); }
};
template <class F>
struct OfTwo {
  __device__ float operator()(float a, float b) const { return F::value(a, b); }
};

/// `count` elements of an operand whose stride along the axis is 0 or 1; with single elements any.
template <int count>
__device__ Lanes<float, count> operand(const float* p, std::int64_t stride, std::int64_t there) {
  if constexpr (count == 1) {
    return {{*p}};
  } else {
    if (stride == 1) return load_four(p, there);
    const float v = *p;
    return {{v, v, v, v}};
  }
}

template <int count, class F>
__global__ void binary_strided(const __grid_constant__ BinaryGeometry g, std::int64_t rows, std::int64_t pieces,
                               const float* a, const float* b, float* y, F f) {
  const int inner = g.rank - 1;
  const std::int64_t n = g.extent[inner], step_a = g.stride_a[inner], step_b = g.stride_b[inner];
  for_each_index(rows * pieces, [&](std::int64_t item) {
    const std::int64_t row = item / pieces, column = (item - row * pieces) * count;
    std::int64_t at_a = column * step_a, at_b = column * step_b, rest = row;
    for (int axis = inner - 1; axis >= 0; --axis) {
      const std::int64_t quotient = rest / g.extent[axis], at = rest - quotient * g.extent[axis];
      at_a += at * g.stride_a[axis];
      at_b += at * g.stride_b[axis];
      rest = quotient;
    }
    const Lanes<float, count> left = operand<count>(a + at_a, step_a, n - column);
    const Lanes<float, count> right = operand<count>(b + at_b, step_b, n - column);
    Lanes<float, count> result;
#pragma unroll
    for (int l = 0; l < count; ++l) result.v[l] = f(left.v[l], right.v[l]);
    if constexpr (count == 4)
      store_four(y + row * n + column, result, n - column);
    else
      y[row * n + column] = result.v[0];
  });
}

/// True where rows of an operand, if they are contiguous, start on 16 bytes.
bool rows_aligned(const BinaryGeometry& g, const std::int64_t* stride) {
  if (stride[g.rank - 1] > 1) return false;
  if (stride[g.rank - 1] == 0) return true;
  for (int axis = 0; axis < g.rank - 1; ++axis)
    if (stride[axis] % 4 != 0) return false;
  return true;
}

template <class F>
void binary_with(const Call& call, const BinaryGeometry& g) {
  const int inner = g.rank - 1;
  std::int64_t rows = 1;
  for (int axis = 0; axis < inner; ++axis) rows *= g.extent[axis];
  const std::int64_t n = g.extent[inner];
  if (rows * n == 0) return;
  if (rows == 1 && g.stride_a[inner] == 1 && g.stride_b[inner] == 1) return map<2>(call, n, OfTwo<F>{});
  const bool fours = (rows == 1 || n % 4 == 0) && rows_aligned(g, g.stride_a) && rows_aligned(g, g.stride_b);
  const std::int64_t pieces = fours ? (n + 3) / 4 : n;
  launch(call, fours ? binary_strided<4, OfTwo<F>> : binary_strided<1, OfTwo<F>>, blocks_for(rows * pieces),
         dim3(block_threads), 0, g, rows, pieces, input<float>(call, 0), input<float>(call, 1), output<float>(call, 0),
         OfTwo<F>{});
}

}  // namespace

void unary(const Call& call) {
  const auto& g = state_of<UnaryGeometry>(call);
  pointwise::with_unary<math::Scalar>(g.fn, g.alpha, g.beta, [&](auto f) { map<1>(call, g.n, Value<decltype(f)>{f}); });
}

void unary_grad(const Call& call) {
  const auto& g = state_of<UnaryGeometry>(call);
  pointwise::with_unary<math::Scalar>(g.fn, g.alpha, g.beta,
                                      [&](auto f) { map<2>(call, g.n, Gradient<decltype(f)>{f}); });
}

void binary(const Call& call) {
  const auto& g = state_of<BinaryGeometry>(call);
  pointwise::with_binary<math::Scalar>(g.fn, [&](auto f) { binary_with<decltype(f)>(call, g); });
}

}  // namespace tenon::cuda
