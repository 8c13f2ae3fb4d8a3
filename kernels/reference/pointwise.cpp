// Pointwise operations: unary and its gradient, binary with broadcasting, dropout and its gradient.
#include "kernels/reference/pointwise.hpp"

#include <algorithm>

namespace tenon::reference {
namespace {

struct UnaryGeometry {
  op::Unary attributes;
  std::int64_t n;
};

template <class T>
void unary(const Call& call) {
  const op::Unary& u = state_of<UnaryGeometry>(call).attributes;
  const std::int64_t n = state_of<UnaryGeometry>(call).n;
  const T* x = in<T>(call, 0);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) y[i] = unary_value(u.fn, u.alpha, u.beta, x[i]);
}

template <class T>
void unary_grad(const Call& call) {
  const op::Unary& u = state_of<UnaryGeometry>(call).attributes;
  const std::int64_t n = state_of<UnaryGeometry>(call).n;
  const T *gy = in<T>(call, 0), *saved = in<T>(call, 1);
  T* gx = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) gx[i] = unary_gradient(u.fn, u.alpha, gy[i], saved[i]);
}

/// Output extents; strides of the operands in elements, 0 where they broadcast.
struct BinaryGeometry {
  op::BinaryFn fn;
  int rank;
  std::int64_t n, extent[Shape::max_rank], stride_a[Shape::max_rank], stride_b[Shape::max_rank];
};

void set_strides(const Shape& x, const BinaryGeometry& g, std::int64_t* stride) {
  std::int64_t step = 1;
  for (int i = g.rank - 1, j = x.rank() - 1; i >= 0; --i, --j) {
    const std::int64_t extent = j < 0 ? 1 : x[j];
    stride[i] = extent == 1 ? 0 : step;
    step *= extent;
  }
}

template <class T>
void binary(const Call& call) {
  const auto& g = state_of<BinaryGeometry>(call);
  const T *a = in<T>(call, 0), *b = in<T>(call, 1);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) {
    std::int64_t rest = i, ia = 0, ib = 0;
    for (int axis = g.rank - 1; axis >= 0; --axis) {
      const std::int64_t at = rest % g.extent[axis];
      rest /= g.extent[axis];
      ia += at * g.stride_a[axis];
      ib += at * g.stride_b[axis];
    }
    pointwise::with_binary<math::Policy<T>>(g.fn, [&](const auto& f) { y[i] = f.value(a[ia], b[ib]); });
  }
}

struct DropoutGeometry {
  float rate;
  std::int32_t site;
  std::int64_t n;
};

template <class T>
void dropout(const Call& call) {
  const auto& g = state_of<DropoutGeometry>(call);
  const T* x = in<T>(call, 0);
  T* y = out<T>(call, 0);
  auto* mask = out<std::uint8_t>(call, 1);
  const T scale = dropout_scale<T>(g.rate);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) {
    mask[i] = dropout_keeps(*call.control, g.rate, g.site, i) ? 1 : 0;
    y[i] = mask[i] != 0 ? x[i] * scale : T{0};
  }
}

template <class T>
void dropout_grad(const Call& call) {
  const auto& g = state_of<DropoutGeometry>(call);
  const T* gy = in<T>(call, 0);
  const auto* mask = in<std::uint8_t>(call, 1);
  T* gx = out<T>(call, 0);
  const T scale = dropout_scale<T>(g.rate);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) gx[i] = mask[i] != 0 ? gy[i] * scale : T{0};
}

Bound bind_unary(const Problem& p, const Kernel&) {
  return Binder(p, "f", "f")
      .step(unary<float>, unary<double>, UnaryGeometry{p.as<op::Unary>(), p.in[0].shape.elements()});
}
Bound bind_unary_grad(const Problem& p, const Kernel&) {
  return Binder(p, "ff", "f")
      .step(unary_grad<float>, unary_grad<double>,
            UnaryGeometry{p.as<op::UnaryGrad>().forward, p.in[0].shape.elements()});
}
Bound bind_binary(const Problem& p, const Kernel&) {
  const Binder binder(p, "ff", "f");
  if (binder.refused()) return binder.refusal();
  const Shape& y = p.out[0].shape;
  BinaryGeometry g{p.as<op::Binary>().fn, y.rank(), y.elements(), {}, {}, {}};
  std::copy(y.extents().begin(), y.extents().end(), g.extent);
  set_strides(p.in[0].shape, g, g.stride_a);
  set_strides(p.in[1].shape, g, g.stride_b);
  return binder.step(binary<float>, binary<double>, g);
}
Bound bind_dropout(const Problem& p, const Kernel&) {
  const auto& d = p.as<op::Dropout>();
  return Binder(p, "f", "fm")
      .step(dropout<float>, dropout<double>, DropoutGeometry{d.rate, d.site, p.in[0].shape.elements()});
}
Bound bind_dropout_grad(const Problem& p, const Kernel&) {
  const float rate = p.as<op::DropoutGrad>().rate;
  return Binder(p, "fm", "f")
      .step(dropout_grad<float>, dropout_grad<double>, DropoutGeometry{rate, 0, p.in[0].shape.elements()});
}

}  // namespace

void append_pointwise_rows(KernelTable& table) {
  table.push_back(row<op::Unary>(bind_unary));
  table.push_back(row<op::UnaryGrad>(bind_unary_grad));
  table.push_back(row<op::Binary>(bind_binary));
  table.push_back(row<op::Dropout>(bind_dropout, {{8}}));  // elements of one Philox block
  table.push_back(row<op::DropoutGrad>(bind_dropout_grad));
}

}  // namespace tenon::reference
