// The tail of a contraction and its inverse, as kernels/reference/epilogue.hpp defines them:
//   y = dropout(maxpool2x2(activation(z + bias))), mask = argmax in the window or `killed`
//   dz = gy where the mask says that z was chosen, times the dropout's scale; or gy f'(y) without a mask
// A thread has the sums of four rows and four columns. Under a pool the four rows are the window, so that the maximum is found in
// registers; else they are four rows of y.
#pragma once
#include "kernels/common/geometry.hpp"
#include "kernels/common/philox.hpp"
#include "kernels/common/pointwise.hpp"
#include "kernels/cuda/operand.cuh"

namespace tenon::cuda {

/// Sums of neighbouring rows and columns, as one thread has them.
struct Quad {
  float sum[4][4];  // [row][column]
};

__device__ inline float unary_value(op::UnaryFn fn, float alpha, float x) {
  float y = x;
  pointwise::with_unary<math::Scalar>(fn, alpha, 0.f, [&](const auto& f) { y = f.value(x); });
  return y;
}
__device__ inline float unary_gradient(op::UnaryFn fn, float alpha, float gy, float saved) {
  float gx = gy;
  pointwise::with_unary<math::Scalar>(fn, alpha, 0.f, [&](const auto& f) { gx = f.gradient(gy, saved); });
  return gx;
}

struct Epilogue {
  bool pool, relu;
  op::UnaryFn activation;
  float alpha, dropout;
  std::int32_t site;
  std::int64_t pitch;  // columns of y
  const float* bias;   // null: none
  float* y;            // [rows or windows, pitch]
  std::uint8_t* mask;  // likewise; null: none
  const Control* control;

  /// Rows [row, row + 4) of the product, columns [column, column + 4) of y, as far as there are `rows` and `columns_end`.
  __device__ void finish(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns_end,
                         const Quad& z) const {
    if (pool) {
      if (row < rows) finish_line(row / 4, column, columns_end, z, 0, 4);
      return;
    }
    for (int i = 0; i < 4; ++i)
      if (row + i < rows) finish_line(row + i, column, columns_end, z, i, i + 1);
  }

 private:
  /// One line of y out of the sums [first, last), which are one window.
  __device__ void finish_line(std::int64_t line, std::int64_t column, std::int64_t columns_end, const Quad& z,
                              int first, int last) const {
    philox::Words words{};
    std::uint64_t block = ~std::uint64_t{0};
    for (int j = 0; j < 4 && column + j < columns_end; ++j) {
      const std::uint64_t element = static_cast<std::uint64_t>(line * pitch + column + j);
      float best = 0.f;
      std::uint8_t byte = 0;
      for (int i = first; i < last; ++i) {
        const float v = unary_value(activation, alpha, bias != nullptr ? z.sum[i][j] + bias[column + j] : z.sum[i][j]);
        // The later one wins if it is larger, or the first NaN.
        if (i > first && !(v > best || (v != v && best == best))) continue;
        best = v;
        byte = static_cast<std::uint8_t>(i - first);
      }
      if (mask != nullptr) {
        if (relu && best <= 0.f) byte = op::Epilogue::killed;
        if (dropout != 0.f) {
          if (element / 4 != block) {
            block = element / 4;
            words =
                philox::block(philox::key(control->seed, philox::Purpose::dropout), static_cast<std::uint32_t>(block),
                              static_cast<std::uint32_t>(site), control->step, control->epoch);
          }
          if (words.v[element % 4] >= philox::dropout_threshold(dropout)) {
            best *= philox::dropout_scale(dropout);
          } else {
            best = 0.f;
            byte = op::Epilogue::killed;
          }
        }
        mask[element] = byte;
      }
      y[element] = best;
    }
  }
};

/// dz of one element of a gradient; dead elements are 0.
struct Undo {
  bool mask;  // the saved value is the mask, else y
  op::UnaryFn activation;
  float alpha, scale;  // 1 / (1 - dropout rate)
  const float* gy;
  const void* saved;  // null where dz is gy

  /// `position` is where the sum lies in its window, 0 without a pool.
  [[nodiscard]] __device__ float at(std::int64_t i, std::int32_t position) const {
    const float g = gy[i];
    if (saved == nullptr) return g;
    if (mask) return static_cast<const std::uint8_t*>(saved)[i] == position ? g * scale : 0.f;
    const float y = static_cast<const float*>(saved)[i];
    if (activation == op::UnaryFn::relu) return y <= 0.f ? 0.f : g;
    return unary_gradient(activation, alpha, g, y);
  }
  /// Four neighbours at once; i is a multiple of four.
  __device__ void four(std::int64_t i, std::int32_t position, float v[4]) const {
    read_four(gy + i, v);
    if (saved == nullptr) return;
    if (mask) {
      const uchar4 q = *reinterpret_cast<const uchar4*>(static_cast<const std::uint8_t*>(saved) + i);
      const std::uint8_t bytes[4] = {q.x, q.y, q.z, q.w};
      for (int j = 0; j < 4; ++j) v[j] = bytes[j] == position ? v[j] * scale : 0.f;
      return;
    }
    float y[4];
    read_four(static_cast<const float*>(saved) + i, y);
    for (int j = 0; j < 4; ++j)
      v[j] =
          activation == op::UnaryFn::relu ? (y[j] <= 0.f ? 0.f : v[j]) : unary_gradient(activation, alpha, v[j], y[j]);
  }
};

inline Undo make_undo(const PrologueGeometry& p, const Call& call) {
  return {p.mask,
          p.activation,
          p.alpha,
          p.dropout > 0.f ? philox::dropout_scale(p.dropout) : 1.f,
          static_cast<const float*>(call.in[0]),
          p.any ? call.in[2] : nullptr};
}

}  // namespace tenon::cuda
