// Products by strides.
#include "kernels/bind/product_geometry.hpp"

namespace tenon::bind {
namespace {

/// A matrix by strides.
struct Matrix {
  std::int32_t in;
  std::int64_t rows, cols, row, col;
};
Matrix operand(const Problem& p, std::int32_t i, bool transposed) {
  const std::int64_t r = p.in[i].shape[0], c = p.in[i].shape[1];
  return transposed ? Matrix{i, c, r, 1, c} : Matrix{i, r, c, c, 1};
}
Matrix turned(Matrix m) { return {m.in, m.cols, m.rows, m.col, m.row}; }

ProductGeometry product(const Matrix& a, const Matrix& b) {
  ProductGeometry g{};
  g.m = a.rows;
  g.n = b.cols;
  g.k = a.cols;
  g.a_row = a.row;
  g.a_col = a.col;
  g.b_row = b.row;
  g.b_col = b.col;
  g.a_in = a.in;
  g.b_in = b.in;
  return g;
}

/// The gradient's side of the geometry: dz of the forward op's output (rows, cols).
void set_prologue(ProductGeometry& g, const op::Epilogue& e, const Problem& p) {
  g.prologue = {e.gradient_reads_saved(), e.saves_mask(), e.activation, e.alpha, e.dropout};
  g.dz_rows = p.in[0].shape[0];
  g.dz_cols = p.in[0].shape[1];
}

}  // namespace

ProductGeometry matmul_geometry(const Problem& p) {
  const auto& o = p.as<op::MatMul>();
  ProductGeometry g = product(operand(p, 0, o.transpose_a), operand(p, 1, o.transpose_b));
  g.bias = o.epilogue.bias;
  g.activation = o.epilogue.activation;
  g.alpha = o.epilogue.alpha;
  g.dropout = o.epilogue.dropout;
  g.site = o.epilogue.site;
  g.mask = o.epilogue.saves_mask();
  return g;
}

ProductGeometry matmul_grad_a_geometry(const Problem& p) {
  const op::MatMul& o = p.as<op::MatMulGradA>().forward;
  const Matrix dz = operand(p, 0, false), b = turned(operand(p, 1, o.transpose_b));
  // ga = dz b^T; of a transposed a it is b dz^T, which keeps the result row-major.
  ProductGeometry g = o.transpose_a ? product(turned(b), turned(dz)) : product(dz, b);
  set_prologue(g, o.epilogue, p);
  return g;
}

ProductGeometry matmul_grad_b_geometry(const Problem& p) {
  const op::MatMul& o = p.as<op::MatMulGradB>().forward;
  const Matrix dz = operand(p, 0, false), a = turned(operand(p, 1, o.transpose_a));
  ProductGeometry g = o.transpose_b ? product(turned(dz), turned(a)) : product(a, dz);
  set_prologue(g, o.epilogue, p);
  g.bias_grad = o.epilogue.bias;
  return g;
}

}  // namespace tenon::bind
