// reduce: x (outer, n, inner) -> y (outer, inner) by sum, mean = sum / n, max or min (the first wins; NaN wins).
// reduce_select_grad: gx is gy at the first element that equals y, 0 elsewhere.
#include <algorithm>
#include <cmath>

#include "kernels/reference/pair_tree.hpp"
#include "kernels/reference/row_chain.hpp"

namespace tenon::reference {
namespace {

struct ReduceGeometry {
  op::ReduceFn fn;
  std::int64_t outer, n, inner;
};

ReduceGeometry geometry(const op::Reduce& r, const Shape& x) {
  return {r.fn, x.product(0, r.axis), x.product(r.axis, r.axis + r.count), x.product(r.axis + r.count, x.rank())};
}

/// Columns of one outer index: chains in chunks, pair tree.
template <class T>
void sum_columns(const ReduceGeometry& g, const T* x, T* scratch, T* y) {
  const std::int64_t chunk = Order<T>::k_chunk;
  PairTree<T> tree(scratch, g.inner);
  for (std::int64_t c = 0; c < chunk_count(g.n, chunk); ++c) {
    T* acc = tree.open();
    for (std::int64_t i = c * chunk; i < std::min(g.n, (c + 1) * chunk); ++i)
      for (std::int64_t j = 0; j < g.inner; ++j) acc[j] += x[i * g.inner + j];
    tree.close();
  }
  const T* sums = tree.sum();
  std::copy(sums, sums + g.inner, y);
}

template <class T>
void reduce_sum(const Call& call) {
  const auto& g = state_of<ReduceGeometry>(call);
  for (std::int64_t o = 0; o < g.outer; ++o) {
    const T* x = in<T>(call, 0) + o * g.n * g.inner;
    T* y = out<T>(call, 0) + o * g.inner;
    if (g.inner == 1)
      *y = row_sum<T>(g.n, [&](std::int64_t i) { return x[i]; });
    else
      sum_columns(g, x, static_cast<T*>(call.workspace), y);
    if (g.fn != op::ReduceFn::mean) continue;
    for (std::int64_t j = 0; j < g.inner; ++j) y[j] /= static_cast<T>(g.n);
  }
}

template <class T>
void reduce_select(const Call& call) {
  const auto& g = state_of<ReduceGeometry>(call);
  const bool max = g.fn == op::ReduceFn::max;
  for (std::int64_t o = 0; o < g.outer; ++o)
    for (std::int64_t j = 0; j < g.inner; ++j) {
      const T* x = in<T>(call, 0) + o * g.n * g.inner + j;
      T best = x[0];
      for (std::int64_t i = 1; i < g.n; ++i) {
        const T v = x[i * g.inner];
        if ((max ? v > best : v < best) || (std::isnan(v) && !std::isnan(best))) best = v;
      }
      out<T>(call, 0)[o * g.inner + j] = best;
    }
}

template <class T>
void reduce_select_grad(const Call& call) {
  const auto& g = state_of<ReduceGeometry>(call);
  for (std::int64_t o = 0; o < g.outer; ++o)
    for (std::int64_t j = 0; j < g.inner; ++j) {
      const T gy = in<T>(call, 0)[o * g.inner + j], y = in<T>(call, 2)[o * g.inner + j];
      const T* x = in<T>(call, 1) + o * g.n * g.inner + j;
      T* gx = out<T>(call, 0) + o * g.n * g.inner + j;
      bool found = false;
      for (std::int64_t i = 0; i < g.n; ++i) {
        const T v = x[i * g.inner];
        const bool winner = !found && (v == y || (std::isnan(v) && std::isnan(y)));
        gx[i * g.inner] = winner ? gy : T{0};
        found = found || winner;
      }
    }
}

bool sums(op::ReduceFn fn) { return fn == op::ReduceFn::sum || fn == op::ReduceFn::mean; }

Bound bind_reduce(const Problem& p, const Kernel&) {
  const Binder binder(p, "f", "f");
  if (binder.refused()) return binder.refusal();
  const ReduceGeometry g = geometry(p.as<op::Reduce>(), p.in[0].shape);
  if (sums(g.fn))
    return binder.step(reduce_sum<float>, reduce_sum<double>, g, tree_scratch(g.n, order::k_chunk, g.inner));
  return binder.step(reduce_select<float>, reduce_select<double>, g);
}

Bound bind_reduce_select_grad(const Problem& p, const Kernel&) {
  const Binder binder(p, "fff", "f");
  if (binder.refused()) return binder.refusal();
  const auto& forward = p.as<op::ReduceSelectGrad>().forward;
  if (sums(forward.fn)) return Refusal{"expects max or min"};
  return binder.step(reduce_select_grad<float>, reduce_select_grad<double>, geometry(forward, p.in[1].shape));
}

}  // namespace

void append_reduce_rows(KernelTable& table) {
  table.push_back(row<op::Reduce>(bind_reduce, {{order::lanes, order::k_chunk, order::reduce_chunk}}));
  table.push_back(row<op::ReduceSelectGrad>(bind_reduce_select_grad));
}

}  // namespace tenon::reference
