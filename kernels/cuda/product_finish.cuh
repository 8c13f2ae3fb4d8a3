// How the sums of product_tiles.cuh end: the epilogue of matmul, or the gradient's plain numbers, and the launch that adds up the sums of
// parts. What the end reads is asked for at the beginning of a kernel, because it takes as long to come as an operand.
#pragma once
#include "kernels/cuda/product.cuh"

namespace tenon::cuda {

/// What dropout draws from, and the epilogue with that and without the bias, which the sums have already.
template <class View>
__device__ Control read_control(const View& view) {
  Control c{};
  if (view.epilogue.dropout != 0.f) {
    c.seed = view.epilogue.control->seed;
    c.epoch = view.epilogue.control->epoch;
    c.step = view.epilogue.control->step;
  }
  return c;
}
template <class View>
__device__ Epilogue tail_of(const View& view, const Control& control) {
  Epilogue e = view.epilogue;
  e.control = &control;
  e.bias = nullptr;
  return e;
}
template <class View>
__device__ void read_bias(const View& view, std::int64_t column, float v[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    v[j] = view.epilogue.bias != nullptr && column + j < view.g.n ? view.epilogue.bias[column + j] : 0.f;
}
/// Four neighbouring sums are complete.
template <GradientOperand dz>
__device__ void finish_product_line(const ProductView<dz>& view, const Epilogue& tail, const float bias[4],
                                    std::int64_t row, std::int64_t column, float v[4]) {
  if (row >= view.g.m || column >= view.g.n) return;
  if constexpr (dz == GradientOperand::none) {
    if (view.epilogue.bias != nullptr) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] += bias[j];
    }
    tail.finish_row(row, column, view.g.n, v);
  } else {
    write_four(view.y, row * view.g.n + column, v, view.g.n - column);
  }
}

/// Adds up the sums of the parts. Eight neighbouring lanes have eight neighbouring fours of a row (at the end, of the bias gradient), and
/// four such groups of a warp share their parts.
inline constexpr int join_threads = 128;
template <GradientOperand dz>
__global__ void __launch_bounds__(join_threads)
    join_parts(ProductView<dz> view, std::int64_t parts, std::int64_t lines, const float* partial) {
  constexpr int together = 8, shares = 4;
  const int lane = static_cast<int>(threadIdx.x % warp), share = lane / 8;
  const auto across = static_cast<unsigned>((view.g.n + 3) / 4);
  const std::int64_t sums = view.g.m * view.g.n, quads = view.g.m * across;
  const std::int64_t item = global_thread() / warp * 8 + lane % 8;
  const bool of_bias = item >= quads;
  const std::int64_t row = of_bias ? 0 : item / across;
  const std::int64_t column = (of_bias ? item - quads : item % across) * 4, end = of_bias ? lines : view.g.n;
  const std::int64_t count = end - column, stride = of_bias ? lines : sums;
  const float* const from = partial + (of_bias ? parts * sums : row * view.g.n) + column;
  const bool fours = count >= 4 && end % 4 == 0 && sums % 4 == 0;
  const Control control = read_control(view);
  const Epilogue tail = tail_of(view, control);
  float bias[4] = {};
  if constexpr (dz == GradientOperand::none) read_bias(view, column, bias);
  float total[4] = {};
  for (std::int64_t p = share; p < parts; p += together * shares) {
    float v[together][4] = {};
#pragma unroll
    for (int i = 0; i < together; ++i) {
      if (p + i * shares >= parts) continue;
      const float* const at = from + (p + i * shares) * stride;
      if (fours) {
        read_four(at, v[i]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (j < count) v[i][j] = at[j];
      }
    }
#pragma unroll
    for (int i = 0; i < together; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) total[j] += v[i][j];
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    total[j] += __shfl_xor_sync(whole_warp, total[j], 8);
    total[j] += __shfl_xor_sync(whole_warp, total[j], 16);
  }
  if (share > 0 || count <= 0) return;
  if (of_bias)
    write_four(view.gbias, column, total, count);
  else
    finish_product_line(view, tail, bias, row, column, total);
}

template <GradientOperand dz>
void run_join_parts(const Call& call, const ProductView<dz>& view, std::int64_t parts, std::int64_t lines) {
  constexpr std::int64_t of_block = join_threads / 4;
  const std::int64_t items = view.g.m * ((view.g.n + 3) / 4) + (lines + 3) / 4;
  launch(call, join_parts<dz>, dim3(static_cast<unsigned>((items + of_block - 1) / of_block)), dim3(join_threads), 0,
         view, parts, lines, static_cast<const float*>(call.workspace));
}

}  // namespace tenon::cuda
