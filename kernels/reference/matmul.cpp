// matmul and its gradients, as convolutions of 1x1 images: rows of op(a) are the images, columns of op(b) the filters.
// Transposed operands are copied into the workspace first, so that the inner loops see neighbouring outputs.
//   y = epilogue(op(a) op(b)); ga = dz op(b)^T, chunks over the columns of dz; gb = op(a)^T dz and gbias, chunks over
//   rows.
#include <algorithm>

#include "kernels/reference/conv2d.hpp"
#include "kernels/reference/epilogue.hpp"
#include "kernels/reference/fma_span.hpp"
#include "kernels/reference/pair_tree.hpp"

namespace tenon::reference {
namespace {

/// g: n rows of op(a), c terms, k columns of op(b).
struct MatMulGeometry {
  ConvGeometry g;
  bool transpose_a, transpose_b;
};

MatMulGeometry geometry(const op::MatMul& m, std::int64_t rows, std::int64_t terms, std::int64_t columns) {
  ConvGeometry g;
  g.n = rows;
  g.c = static_cast<std::int32_t>(terms);
  g.k = static_cast<std::int32_t>(columns);
  g.h = g.w = g.kh = g.kw = g.oh = g.ow = g.ph = g.pw = 1;
  g.bias = m.epilogue.bias;
  g.mask = m.epilogue.saves_mask();
  g.activation = static_cast<std::uint8_t>(m.epilogue.activation);
  g.alpha = m.epilogue.alpha;
  g.dropout = m.epilogue.dropout;
  g.site = m.epilogue.site;
  return {g, m.transpose_a, m.transpose_b};
}

/// x (rows, columns) -> copy (columns, rows).
template <class T>
const T* transposed(const T* x, std::int64_t rows, std::int64_t columns, T* copy) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) copy[j * rows + i] = x[i * columns + j];
  return copy;
}

template <class T>
void matmul(const Call& call) {
  const auto& state = state_of<MatMulGeometry>(call);
  const ConvGeometry& g = state.g;
  const T *a = in<T>(call, 0), *b = in<T>(call, 1);
  T* scratch = static_cast<T*>(call.workspace);
  if (state.transpose_a) {
    a = transposed(a, g.c, g.n, scratch);
    scratch += g.n * g.c;
  }
  if (state.transpose_b) {
    b = transposed(b, g.k, g.c, scratch);
    scratch += std::int64_t{g.k} * g.c;
  }
  conv2d_forward(g, a, b, g.bias ? in<T>(call, 2) : nullptr, out<T>(call, 0),
                 g.mask ? out<std::uint8_t>(call, 1) : nullptr, scratch, call);
}

template <class T>
void matmul_grad_a(const Call& call) {
  const auto& state = state_of<MatMulGeometry>(call);
  const ConvGeometry& g = state.g;
  const std::int64_t slot = tree_scratch(g.k, order::k_chunk, g.c), chunk = Order<T>::k_chunk;
  T* scratch = static_cast<T*>(call.workspace);
  const T* b = in<T>(call, 1);  // [k, c] when the loop begins
  if (!state.transpose_b) b = transposed(b, g.c, g.k, scratch + max_threads * slot);
  T* ga = out<T>(call, 0);
  const Prologue<T> prologue(g, in<T>(call, 0), g.mask || g.activation != 0 ? call.in[2] : nullptr);
#pragma omp parallel for num_threads(threads_with_scratch(call)) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n) {
    PairTree<T> tree(scratch + thread_number() * slot, g.c);
    for (std::int64_t i = 0; i < chunk_count(g.k, chunk); ++i) {
      T* acc = tree.open();
      for (std::int64_t k = i * chunk; k < std::min<std::int64_t>(g.k, (i + 1) * chunk); ++k) {
        T dz;
        if (prologue.live(n, 0, 0, static_cast<std::int32_t>(k), dz)) fma_span(acc, dz, b + k * g.c, g.c);
      }
      tree.close();
    }
    const T* sums = tree.sum();
    for (std::int64_t c = 0; c < g.c; ++c) ga[state.transpose_a ? c * g.n + n : n * g.c + c] = sums[c];
  }
}

template <class T>
void matmul_grad_b(const Call& call) {
  const auto& state = state_of<MatMulGeometry>(call);
  const ConvGeometry& g = state.g;
  T* scratch = static_cast<T*>(call.workspace);
  const T* a = in<T>(call, 1);
  if (state.transpose_a) {
    a = transposed(a, g.c, g.n, scratch);
    scratch += g.n * g.c;
  }
  const FilterLayout layout = state.transpose_b ? FilterLayout{1, g.c} : FilterLayout{g.k, 1};
  conv2d_filter_gradient(g, in<T>(call, 0), a, g.mask || g.activation != 0 ? call.in[2] : nullptr, out<T>(call, 0),
                         layout, g.bias ? out<T>(call, 1) : nullptr, Order<T>::k_chunk, scratch, call);
}

Bound bind_matmul(const Problem& p, const Kernel&) {
  const auto& m = p.as<op::MatMul>();
  const Binder binder(p, m.epilogue.bias ? "fff" : "ff", m.epilogue.saves_mask() ? "fm" : "f");
  if (binder.refused()) return binder.refusal();
  if (m.epilogue.pool) return Refusal{"takes no pooled epilogue"};
  const Shape& a = p.in[0].shape;
  const MatMulGeometry s =
      geometry(m, a[m.transpose_a ? 1 : 0], a[m.transpose_a ? 0 : 1], p.in[1].shape[m.transpose_b ? 0 : 1]);
  const std::int64_t copies = (m.transpose_a ? s.g.n * s.g.c : 0) + (m.transpose_b ? std::int64_t{s.g.k} * s.g.c : 0);
  return binder.step(matmul<float>, matmul<double>, s, copies + conv2d_scratch(s.g));
}

Bound bind_grad_a(const Problem& p, const Kernel&) {
  const auto& m = p.as<op::MatMulGradA>().forward;
  const Binder binder(p, gradient_inputs(m.epilogue), "f");
  if (binder.refused()) return binder.refusal();
  if (const char* why = prologue_refusal(m.epilogue); *why != 0) return Refusal{why};
  const MatMulGeometry s = geometry(m, p.in[0].shape[0], p.in[1].shape[m.transpose_b ? 1 : 0], p.in[0].shape[1]);
  const std::int64_t copy = m.transpose_b ? 0 : std::int64_t{s.g.k} * s.g.c;
  return binder.step(matmul_grad_a<float>, matmul_grad_a<double>, s,
                     copy + max_threads * tree_scratch(s.g.k, order::k_chunk, s.g.c));
}

Bound bind_grad_b(const Problem& p, const Kernel&) {
  const auto& m = p.as<op::MatMulGradB>().forward;
  const Binder binder(p, gradient_inputs(m.epilogue), m.epilogue.bias ? "ff" : "f");
  if (binder.refused()) return binder.refusal();
  if (const char* why = prologue_refusal(m.epilogue); *why != 0) return Refusal{why};
  const MatMulGeometry s = geometry(m, p.in[0].shape[0], p.in[1].shape[m.transpose_a ? 0 : 1], p.in[0].shape[1]);
  const std::int64_t copy = m.transpose_a ? s.g.n * s.g.c : 0;
  return binder.step(matmul_grad_b<float>, matmul_grad_b<double>, s,
                     copy + conv2d_filter_gradient_scratch(s.g, order::k_chunk));
}

}  // namespace

void append_matmul_rows(KernelTable& table) {
  const Edges edges{{8, order::k_chunk}};
  table.push_back(row<op::MatMul>(bind_matmul, edges));
  table.push_back(row<op::MatMulGradA>(bind_grad_a, edges));
  table.push_back(row<op::MatMulGradB>(bind_grad_b, edges));
}

}  // namespace tenon::reference
