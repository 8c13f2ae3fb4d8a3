// The functors of kernels/common, one element at a time, for float and double.
#pragma once
#include "kernels/common/philox.hpp"
#include "kernels/common/pointwise.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {

template <class T>
T unary_value(op::UnaryFn fn, float alpha, float beta, T x) {
  T y{};
  pointwise::with_unary<math::Policy<T>>(fn, alpha, beta, [&](const auto& f) { y = f.value(x); });
  return y;
}

/// `saved` is x or y, as op::unary_gradient_reads_output says.
template <class T>
T unary_gradient(op::UnaryFn fn, float alpha, T gy, T saved) {
  T gx{};
  pointwise::with_unary<math::Policy<T>>(fn, alpha, 0.f, [&](const auto& f) { gx = f.gradient(gy, saved); });
  return gx;
}

/// The same elements on every provider and for float and double.
inline bool dropout_keeps(const Control& control, float rate, std::int32_t site, std::int64_t element) {
  const philox::Key key = philox::key(control.seed, philox::Purpose::dropout);
  return philox::draw(key, static_cast<std::uint64_t>(element), static_cast<std::uint32_t>(site), control.step,
                      control.epoch) >= philox::dropout_threshold(rate);
}
template <class T>
T dropout_scale(float rate) {
  if constexpr (Order<T>::canonical)
    return philox::dropout_scale(rate);
  else
    return T{1} / (T{1} - static_cast<T>(rate));
}

}  // namespace tenon::reference
