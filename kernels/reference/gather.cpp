// gather: y(i,:) = table(ids[i],:). gather_grad: gtable(ids[i],:) += gy(i,:), i ascending. An id out of range halts the
// run; its row is zero, and its gradient goes nowhere.
#include <algorithm>

#include "kernels/reference/labels.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {
namespace {

struct GatherGeometry {
  std::int64_t rows, width, count;  // table (rows, width), ids (count)
};

template <class T>
void gather(const Call& call) {
  const auto& g = state_of<GatherGeometry>(call);
  const auto* ids = in<std::int32_t>(call, 1);
  for (std::int64_t i = 0; i < g.count; ++i) {
    T* y = out<T>(call, 0) + i * g.width;
    if (index_inside(ids[i], g.rows, *call.control))
      std::copy_n(in<T>(call, 0) + ids[i] * g.width, g.width, y);
    else
      std::fill_n(y, g.width, T{0});
  }
}

template <class T>
void gather_grad(const Call& call) {
  const auto& g = state_of<GatherGeometry>(call);
  const auto* ids = in<std::int32_t>(call, 1);
  T* gtable = out<T>(call, 0);
  std::fill_n(gtable, g.rows * g.width, T{0});
  for (std::int64_t i = 0; i < g.count; ++i) {
    if (!index_inside(ids[i], g.rows, *call.control)) continue;
    for (std::int64_t j = 0; j < g.width; ++j) gtable[ids[i] * g.width + j] += in<T>(call, 0)[i * g.width + j];
  }
}

GatherGeometry geometry(const Shape& table, const Shape& ids) {
  return {table[0], table.product(1, table.rank()), ids.elements()};
}

Bound bind_gather(const Problem& p, const Kernel&) {
  const Binder binder(p, "fi", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(gather<float>, gather<double>, geometry(p.in[0].shape, p.in[1].shape));
}
Bound bind_gather_grad(const Problem& p, const Kernel&) {
  const Binder binder(p, "fi", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(gather_grad<float>, gather_grad<double>, geometry(p.out[0].shape, p.in[1].shape));
}

}  // namespace

void append_gather_rows(KernelTable& table) {
  table.push_back(row<op::Gather>(bind_gather));
  table.push_back(row<op::GatherGrad>(bind_gather_grad));
}

}  // namespace tenon::reference
