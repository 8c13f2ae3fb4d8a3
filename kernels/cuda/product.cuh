// Products of matrices as views: matmul with its epilogue, and its two gradients, one of whose operands is dz, the gradient once
// the epilogue is undone. A bias gradient is one row more, whose a is 1 (or one column more, whose b is 1): fma(1, dz, sum) is
// sum + dz, so its bits are those of a chain of additions.
#pragma once
#include "kernels/cuda/contraction.cuh"

namespace tenon::cuda {

enum class GradientOperand : std::uint8_t { none, a, b };

template <GradientOperand dz>
struct ProductView {
  static constexpr bool a_by_lines = dz == GradientOperand::b, b_by_lines = dz != GradientOperand::a;
  static constexpr bool a_plain = dz != GradientOperand::a, b_plain = dz != GradientOperand::b;
  static constexpr bool a_has_ones = dz == GradientOperand::b, b_has_ones = dz == GradientOperand::a;
  static constexpr bool windows = false;
  struct Row {
    std::int64_t at;  // -1: the row of ones
  };
  using Column = Row;

  std::int64_t batches = 1, rows, columns, terms, chunks;
  Reading a_reading, b_reading;
  ProductGeometry g;
  const float *a_data, *b_data;
  Undo undo;
  Epilogue epilogue;  // of matmul
  float *y, *gbias;   // of the gradients; gbias may be null

  [[nodiscard]] __device__ std::int64_t first_term(std::int64_t chunk) const {
    return chunk == chunks ? terms : chunk * order::k_chunk;
  }
  [[nodiscard]] __device__ Row row(std::int64_t, std::int64_t i) const { return {i < g.m ? i * g.a_row : -1}; }
  [[nodiscard]] __device__ Column column(std::int64_t, std::int64_t j) const { return {j < g.n ? j * g.b_col : -1}; }
  [[nodiscard]] __device__ float a(Row r, std::int64_t t) const {
    if constexpr (dz == GradientOperand::a) return undo.at(r.at + t * g.a_col, 0);
    if (dz == GradientOperand::b && r.at < 0) return 1.f;
    return *a_source(r, t);
  }
  [[nodiscard]] __device__ const float* a_source(Row r, std::int64_t t) const { return a_data + r.at + t * g.a_col; }
  [[nodiscard]] __device__ const float* b_source(Column c, std::int64_t t) const { return b_data + c.at + t * g.b_row; }
  [[nodiscard]] __device__ float b(Column c, std::int64_t t) const {
    if constexpr (dz == GradientOperand::b) return undo.at(c.at + t * g.b_row, 0);
    if (dz == GradientOperand::a && c.at < 0) return 1.f;
    return *b_source(c, t);
  }
  [[nodiscard]] __device__ static bool is_ones(Row r) { return r.at < 0; }
  [[nodiscard]] __device__ const Undo& gradient() const { return undo; }
  __device__ void a_four(Row r, std::int64_t t, float v[4]) const {
    if constexpr (dz == GradientOperand::a) {
      undo.four(r.at + t * g.a_col, 0, v);
    } else if (dz == GradientOperand::b && r.at < 0) {
      for (int i = 0; i < 4; ++i) v[i] = 1.f;
    } else {
      read_four(a_source(r, t), v);
    }
  }
  __device__ void b_four(Column c, std::int64_t t, float v[4]) const {
    if constexpr (dz == GradientOperand::b) {
      undo.four(c.at + t * g.b_row, 0, v);
    } else if (dz == GradientOperand::a && c.at < 0) {
      for (int i = 0; i < 4; ++i) v[i] = 1.f;
    } else {
      read_four(b_source(c, t), v);
    }
  }
  __device__ void finish(std::int64_t, std::int64_t row, std::int64_t column, const Quad& z) const {
    if constexpr (dz == GradientOperand::none) {
      epilogue.finish(row, rows, column, columns, z);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (row + i < rows) finish_line(row + i, column, z.sum[i]);
    }
  }

 private:
  __device__ void finish_line(std::int64_t row, std::int64_t column, const float sum[4]) const {
    if (row >= g.m) return write_four(gbias, column, sum, columns - column);
    write_four(y, row * g.n + column, sum, g.n - column);
    // Behind the last column of y stands that of the bias.
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (column + j >= g.n && column + j < columns) gbias[row] = sum[j];
  }
};

/// The product without its bias gradient, and the bias gradient alone.
template <GradientOperand dz>
ProductView<dz> without_bias(ProductView<dz> v) {
  v.rows = v.g.m;
  v.columns = v.g.n;
  return v;
}
template <GradientOperand dz>
ProductView<dz> only_bias(ProductView<dz> v) {
  if constexpr (dz == GradientOperand::b) {
    v.g.m = 0;
    v.rows = 1;
  } else {
    v.g.n = 0;
    v.columns = 1;
  }
  return v;
}

template <GradientOperand dz>
ProductView<dz> product_view(const Call& call, const ProductGeometry& g) {
  ProductView<dz> v{};
  v.g = g;
  v.rows = g.m + (g.bias_grad && dz == GradientOperand::b ? 1 : 0);
  v.columns = g.n + (g.bias_grad && dz == GradientOperand::a ? 1 : 0);
  v.terms = g.k;
  v.chunks = order::chunks(g.k, order::k_chunk);
  // Four rows or columns of one term may include the one of ones, which stands behind a multiple of four.
  const bool by_rows = g.a_row == 1 && g.a_col != 1, by_columns = g.b_col == 1;
  v.a_reading = reading_of(
      by_rows, by_rows ? g.a_col % 4 == 0 && g.m % 4 == 0 : g.a_col == 1 && g.a_row % 4 == 0 && g.k % 4 == 0);
  v.b_reading = reading_of(
      by_columns, by_columns ? g.b_row % 4 == 0 && g.n % 4 == 0 : g.b_row == 1 && g.b_col % 4 == 0 && g.k % 4 == 0);
  v.a_data = static_cast<const float*>(call.in[g.a_in]);
  v.b_data = static_cast<const float*>(call.in[g.b_in]);
  v.y = static_cast<float*>(call.out[0]);
  v.gbias = g.bias_grad ? static_cast<float*>(call.out[1]) : nullptr;
  if (dz != GradientOperand::none) v.undo = make_undo(g.prologue, call);
  v.epilogue = {.pool = false,
                .relu = g.activation == op::UnaryFn::relu,
                .activation = g.activation,
                .alpha = g.alpha,
                .dropout = g.dropout,
                .site = g.site,
                .pitch = g.n,
                .bias = g.bias ? static_cast<const float*>(call.in[2]) : nullptr,
                .y = v.y,
                .mask = g.mask ? static_cast<std::uint8_t*>(call.out[1]) : nullptr,
                .control = call.control};
  return v;
}

/// run(view) with the view of the call's product. The binding says which operand is dz: it is operand 0, and a product of a
/// gradient is one whose dz has extents.
template <class Run>
void with_product(const Call& call, const Run& run) {
  const auto& g = state_of<ProductGeometry>(call);
  if (g.dz_rows == 0)
    run(product_view<GradientOperand::none>(call, g));
  else if (g.a_in == 0)
    run(product_view<GradientOperand::a>(call, g));
  else
    run(product_view<GradientOperand::b>(call, g));
}

}  // namespace tenon::cuda
