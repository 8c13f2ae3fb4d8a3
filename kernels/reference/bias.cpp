// bias_add: y(i,c) = x(i,c) + bias(c). bias_grad: gbias(c) = sum over i of gy(i,c), rows ascending; rank 3 and more
// counts the first axis as samples and sums in sample groups, else rows in chunks; pair tree over both.
#include <algorithm>

#include "kernels/reference/pair_tree.hpp"

namespace tenon::reference {
namespace {

struct BiasGeometry {
  std::int64_t rows, c;
  std::int64_t group;  // rows of one chunk of float
};

BiasGeometry geometry(const Shape& x) {
  const std::int64_t c = x[-1], rows = x.product(0, x.rank() - 1);
  return {rows, c, x.rank() >= 3 ? order::sample_group * x.product(1, x.rank() - 1) : order::k_chunk};
}

template <class T>
void bias_add(const Call& call) {
  const auto& g = state_of<BiasGeometry>(call);
  const T *x = in<T>(call, 0), *bias = in<T>(call, 1);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.rows; ++i)
    for (std::int64_t c = 0; c < g.c; ++c) y[i * g.c + c] = x[i * g.c + c] + bias[c];
}

template <class T>
void bias_grad(const Call& call) {
  const auto& g = state_of<BiasGeometry>(call);
  const T* gy = in<T>(call, 0);
  const std::int64_t chunk = Order<T>::canonical ? std::max<std::int64_t>(1, g.group) : Order<T>::all;
  PairTree<T> tree(static_cast<T*>(call.workspace), g.c);
  for (std::int64_t i = 0; i < chunk_count(g.rows, chunk); ++i) {
    T* acc = tree.open();
    for (std::int64_t r = i * chunk; r < std::min(g.rows, (i + 1) * chunk); ++r)
      for (std::int64_t c = 0; c < g.c; ++c) acc[c] += gy[r * g.c + c];
    tree.close();
  }
  const T* sums = tree.sum();
  std::copy(sums, sums + g.c, out<T>(call, 0));
}

Bound bind_bias_add(const Problem& p, const Kernel&) {
  const Binder binder(p, "ff", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(bias_add<float>, bias_add<double>, geometry(p.in[0].shape));
}

Bound bind_bias_grad(const Problem& p, const Kernel&) {
  const Binder binder(p, "f", "f");
  if (binder.refused()) return binder.refusal();
  const BiasGeometry g = geometry(p.in[0].shape);
  return binder.step(bias_grad<float>, bias_grad<double>, g,
                     tree_scratch(g.rows, std::max<std::int64_t>(1, g.group), g.c));
}

}  // namespace

void append_bias_rows(KernelTable& table) {
  table.push_back(row<op::BiasAdd>(bind_bias_add));
  table.push_back(row<op::BiasGrad>(bind_bias_grad, {{order::sample_group, order::k_chunk}}));
}

}  // namespace tenon::reference
