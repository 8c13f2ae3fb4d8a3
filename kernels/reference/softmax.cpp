// Work on rows x (rows, c): with m the row's maximum, e_j = exp(x_j - m) and s = sum of e in the canonical row order,
//   softmax               y = e / s, or x - m - ln s;      gx = y (gy - sum gy y), or gy - exp(y) sum gy
//   softmax_crossentropy  loss = ln s - (x_label - m), or sum of t_j (ln s - (x_j - m)); saves p = e / s
//                         glogits = (p - onehot) gloss, or (p sum t - t) gloss
//   correct               1 where the first largest score is at the label (or at the first largest probability)
// A NaN in a row reaches its whole row. A label out of range halts the run and gives a NaN loss.
#include <cmath>
#include <limits>

#include "kernels/common/math.hpp"
#include "kernels/reference/labels.hpp"
#include "kernels/reference/row_chain.hpp"

namespace tenon::reference {
namespace {

struct RowsGeometry {
  std::int64_t rows, c;
  bool log = false;
  DType target = DType::f32;  // integer labels or probabilities
};

bool integer(DType d) { return d == DType::i32 || d == DType::u8; }

/// The first largest element, or -1 where there is a NaN or no element.
template <class T>
std::int64_t first_largest(const T* x, std::int64_t n) {
  std::int64_t best = n > 0 ? 0 : -1;
  for (std::int64_t j = 0; j < n; ++j) {
    if (std::isnan(x[j])) return -1;
    if (x[j] > x[best]) best = j;
  }
  return best;
}

template <class T>
T row_max(const T* x, std::int64_t n) {
  T m = -std::numeric_limits<T>::infinity();
  for (std::int64_t j = 0; j < n; ++j)
    if (x[j] > m || std::isnan(x[j])) m = x[j];
  return m;
}

/// e into y; returns s. x and y may be the same memory.
template <class T>
T exponentials(const T* x, T m, std::int64_t n, T* y) {
  for (std::int64_t j = 0; j < n; ++j) y[j] = math::exp<math::Policy<T>>(x[j] - m);
  return row_sum<T>(n, [&](std::int64_t j) { return y[j]; });
}

template <class T>
T log(T x) {
  return math::log<math::Policy<T>>(x);
}

template <class T>
void softmax(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.rows; ++i) {
    const T* x = in<T>(call, 0) + i * g.c;
    T* y = out<T>(call, 0) + i * g.c;
    const T m = row_max(x, g.c);
    if (g.log) {
      const T s = row_sum<T>(g.c, [&](std::int64_t j) { return math::exp<math::Policy<T>>(x[j] - m); });
      const T log_s = log(s);
      for (std::int64_t j = 0; j < g.c; ++j) y[j] = (x[j] - m) - log_s;
    } else {
      const T s = exponentials(x, m, g.c, y);
      for (std::int64_t j = 0; j < g.c; ++j) y[j] /= s;
    }
  }
}

template <class T>
void softmax_grad(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.rows; ++i) {
    const T *gy = in<T>(call, 0) + i * g.c, *y = in<T>(call, 1) + i * g.c;
    T* gx = out<T>(call, 0) + i * g.c;
    if (g.log) {
      const T s = row_sum<T>(g.c, [&](std::int64_t j) { return gy[j]; });
      for (std::int64_t j = 0; j < g.c; ++j) gx[j] = gy[j] - math::exp<math::Policy<T>>(y[j]) * s;
    } else {
      const T s = row_chain<T>(g.c, [&](T acc, std::int64_t j) { return std::fma(gy[j], y[j], acc); });
      for (std::int64_t j = 0; j < g.c; ++j) gx[j] = y[j] * (gy[j] - s);
    }
  }
}

template <class T>
void softmax_crossentropy(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  for (std::int64_t i = 0; i < g.rows; ++i) {
    const T* x = in<T>(call, 0) + i * g.c;
    T *loss = out<T>(call, 0) + i, *p = out<T>(call, 1) + i * g.c;
    const T m = row_max(x, g.c), s = exponentials(x, m, g.c, p), log_s = log(s);
    for (std::int64_t j = 0; j < g.c; ++j) p[j] /= s;
    if (integer(g.target)) {
      const std::int64_t label = label_at(call.in[1], g.target, i);
      *loss = index_inside(label, g.c, *call.control) ? log_s - (x[label] - m) : std::numeric_limits<T>::quiet_NaN();
    } else {
      const T* t = in<T>(call, 1) + i * g.c;
      *loss = row_chain<T>(g.c, [&](T acc, std::int64_t j) { return std::fma(t[j], log_s - (x[j] - m), acc); });
    }
  }
}

template <class T>
void softmax_crossentropy_grad(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.rows; ++i) {
    const T gloss = in<T>(call, 0)[i];
    const T* p = in<T>(call, 1) + i * g.c;
    T* gx = out<T>(call, 0) + i * g.c;
    if (integer(g.target)) {
      const std::int64_t label = label_at(call.in[2], g.target, i);
      for (std::int64_t j = 0; j < g.c; ++j) gx[j] = (p[j] - (j == label ? T{1} : T{0})) * gloss;
    } else {
      const T* t = in<T>(call, 2) + i * g.c;
      const T total = row_sum<T>(g.c, [&](std::int64_t j) { return t[j]; });
      for (std::int64_t j = 0; j < g.c; ++j) gx[j] = (p[j] * total - t[j]) * gloss;
    }
  }
}

template <class T>
void correct(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  for (std::int64_t i = 0; i < g.rows; ++i) {
    const std::int64_t predicted = first_largest(in<T>(call, 0) + i * g.c, g.c);
    std::int64_t label = 0;
    if (integer(g.target)) {
      label = label_at(call.in[1], g.target, i);
      if (!index_inside(label, g.c, *call.control)) label = -1;
    } else {
      label = first_largest(in<T>(call, 1) + i * g.c, g.c);
    }
    out<T>(call, 0)[i] = predicted >= 0 && predicted == label ? T{1} : T{0};
  }
}

RowsGeometry geometry(const Shape& x, bool log = false, DType target = DType::f32) {
  return {x.product(0, x.rank() - 1), x[-1], log, target};
}

Bound bind_softmax(const Problem& p, const Kernel&) {
  const Binder binder(p, "f", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(softmax<float>, softmax<double>, geometry(p.in[0].shape, p.as<op::Softmax>().log));
}
Bound bind_softmax_grad(const Problem& p, const Kernel&) {
  const Binder binder(p, "ff", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(softmax_grad<float>, softmax_grad<double>, geometry(p.in[0].shape, p.as<op::SoftmaxGrad>().log));
}
Bound bind_crossentropy(const Problem& p, const Kernel&) {
  const Binder binder(p, "ft", "ff");
  if (binder.refused()) return binder.refusal();
  return binder.step(softmax_crossentropy<float>, softmax_crossentropy<double>,
                     geometry(p.in[0].shape, false, p.in[1].dtype));
}
Bound bind_crossentropy_grad(const Problem& p, const Kernel&) {
  const Binder binder(p, "fft", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(softmax_crossentropy_grad<float>, softmax_crossentropy_grad<double>,
                     geometry(p.in[1].shape, false, p.in[2].dtype));
}
Bound bind_correct(const Problem& p, const Kernel&) {
  const Binder binder(p, "ft", "f");
  if (binder.refused()) return binder.refusal();
  return binder.step(correct<float>, correct<double>, geometry(p.in[0].shape, false, p.in[1].dtype));
}

}  // namespace

void append_softmax_rows(KernelTable& table) {
  const Edges edges{{order::lanes, order::reduce_chunk}};
  table.push_back(row<op::Softmax>(bind_softmax, edges));
  table.push_back(row<op::SoftmaxGrad>(bind_softmax_grad, edges));
  table.push_back(row<op::SoftmaxCrossEntropy>(bind_crossentropy, edges));
  table.push_back(row<op::SoftmaxCrossEntropyGrad>(bind_crossentropy_grad, edges));
  table.push_back(row<op::Correct>(bind_correct));
}

}  // namespace tenon::reference
