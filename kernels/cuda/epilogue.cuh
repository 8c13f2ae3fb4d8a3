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

  /// Rows [row, row + 4) of the product, columns [column, column + 4) of y, as far as there are `rows` and `columns_end`. Without
  /// a pool the four rows may lie `apart`.
  __device__ void finish(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns_end,
                         const Quad& z, std::int64_t apart = 1) const {
    Quad v;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float b = bias != nullptr && column + j < columns_end ? bias[column + j] : 0.f;
#pragma unroll
      for (int i = 0; i < 4; ++i) v.sum[i][j] = bias != nullptr ? z.sum[i][j] + b : z.sum[i][j];
    }
    activate(v);
    if (pool) {
      std::uint8_t bytes[4] = {};
      // The later one wins if it is larger, or the first NaN.
#pragma unroll
      for (int i = 1; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float& best = v.sum[0][j];
          const float x = v.sum[i][j];
          if (!(x > best || (x != x && best == best))) continue;
          best = x;
          bytes[j] = static_cast<std::uint8_t>(i);
        }
      if (row < rows) finish_line(row / 4, column, columns_end, v.sum[0], bytes);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint8_t bytes[4] = {};
      if (row + i * apart < rows) finish_line(row + i * apart, column, columns_end, v.sum[i], bytes);
    }
  }
  /// One row of four columns, without a pool, whose sums have their bias already.
  __device__ void finish_row(std::int64_t row, std::int64_t column, std::int64_t columns_end,
                             const float sum[4]) const {
    float v[4];
    std::uint8_t bytes[4] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = relu ? pointwise::Relu<math::Scalar>::value(sum[j]) : sum[j];
    if (activation != op::UnaryFn::identity && !relu) {
      // One copy of functions that take many instructions.
#pragma unroll 1
      for (int i = 0; i < 4; ++i) {
        const float x = unary_value(activation, alpha, i == 0 ? v[0] : i == 1 ? v[1] : i == 2 ? v[2] : v[3]);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = i == j ? x : v[j];
      }
    }
    finish_line(row, column, columns_end, v, bytes);
  }

 private:
  /// Functions that take many instructions go through a loop that is not unrolled, over a copy that may be indexed.
  __device__ void activate(Quad& v) const {
    if (activation == op::UnaryFn::identity) return;
    if (relu) {
#pragma unroll
      for (int i = 0; i < 16; ++i) v.sum[i / 4][i % 4] = pointwise::Relu<math::Scalar>::value(v.sum[i / 4][i % 4]);
      return;
    }
    float copy[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) copy[i] = v.sum[i / 4][i % 4];
#pragma unroll 1
    for (int i = 0; i < 16; ++i) copy[i] = unary_value(activation, alpha, copy[i]);
#pragma unroll
    for (int i = 0; i < 16; ++i) v.sum[i / 4][i % 4] = copy[i];
  }

  /// Four neighbours of y and of the mask, of which those before columns_end exist.
  __device__ void finish_line(std::int64_t line, std::int64_t column, std::int64_t columns_end, float v[4],
                              std::uint8_t bytes[4]) const {
    const std::int64_t first = line * pitch + column, count = columns_end - column;
    if (mask != nullptr) {
      if (relu) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (v[j] <= 0.f) bytes[j] = op::Epilogue::killed;
      }
      if (dropout != 0.f) drop(static_cast<std::uint64_t>(first), v, bytes);
      if (count >= 4 && first % 4 == 0) {
        *reinterpret_cast<uchar4*>(mask + first) = make_uchar4(bytes[0], bytes[1], bytes[2], bytes[3]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (j < count) mask[first + j] = bytes[j];
      }
    }
    write_four(y, first, v, count);
  }

  /// Eight elements that begin at a multiple of eight share a block: four neighbours need one, or two.
  __device__ void drop(std::uint64_t first, float v[4], std::uint8_t bytes[4]) const {
    const philox::Key key = philox::key(control->seed, philox::Purpose::dropout);
    const auto block = [&](std::uint64_t element) {
      return philox::block(key, philox::draw_block(element), static_cast<std::uint32_t>(site), control->step,
                           control->epoch);
    };
    const philox::Words own = block(first);
    philox::Words next = own;
    if (first % 8 > 4) next = block(first + 3);
    const std::uint32_t threshold = philox::dropout_threshold(dropout);
    const float scale = philox::dropout_scale(dropout);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::uint64_t element = first + static_cast<std::uint64_t>(j);
      // Both, then one of the numbers: to choose between the blocks themselves they would have to lie in memory.
      const std::uint32_t here = philox::draw_of(own, element), there = philox::draw_of(next, element);
      if ((element / 8 == first / 8 ? here : there) >= threshold) {
        v[j] *= scale;
      } else {
        v[j] = 0.f;
        bytes[j] = op::Epilogue::killed;
      }
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
