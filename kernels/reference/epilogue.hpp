// The epilogue of conv2d and matmul, and the prologue of their gradients, which undoes it:
//   y = dropout(maxpool2x2(activation(z + bias))), mask = argmax in the window or `killed`
//   dz = gy where the mask says that z was chosen, times the dropout's scale; or gy f'(y) without a mask.
#pragma once
#include <cmath>

#include "kernels/common/conv_geometry.hpp"
#include "kernels/reference/pointwise.hpp"

namespace tenon::reference {

template <class T>
bool relu_closed(const ConvGeometry& g, T value) {
  return g.activation == static_cast<std::uint8_t>(op::UnaryFn::relu) && value <= T{0};  // NaN stays alive
}

/// True where the later `candidate` wins over `best`: it is larger, or the first NaN.
template <class T>
bool wins(T candidate, T best) {
  return candidate > best || (std::isnan(candidate) && !std::isnan(best));
}

/// Adds the bias and applies the activation to the sums `z` of output position `position` (0 to 3 in a pooled window, 0
/// otherwise), and takes what wins over the positions before into y and, with a pool, mask.
template <class T>
void take_position(const ConvGeometry& g, const T* z, const T* bias, int position, T* y, std::uint8_t* mask) {
  for (std::int32_t k = 0; k < g.k; ++k) {
    T v = bias != nullptr ? z[k] + bias[k] : z[k];
    v = unary_value(static_cast<op::UnaryFn>(g.activation), g.alpha, 0.f, v);
    if (position > 0 && !wins(v, y[k])) continue;
    y[k] = v;
    if (mask != nullptr) mask[k] = static_cast<std::uint8_t>(position);
  }
}

/// The end of the epilogue where it saves a mask: the relu gate's byte, then dropout. `first` is the index of y[0].
template <class T>
void finish_masked(const ConvGeometry& g, std::int64_t first, T* y, std::uint8_t* mask, const Control* control) {
  for (std::int32_t k = 0; k < g.k; ++k) {
    if (relu_closed(g, y[k])) mask[k] = op::Epilogue::killed;
    if (g.dropout == 0.f) continue;
    if (dropout_keeps(*control, g.dropout, g.site, first + k)) {
      y[k] *= dropout_scale<T>(g.dropout);
    } else {
      y[k] = T{0};
      mask[k] = op::Epilogue::killed;
    }
  }
}

/// Gradient of z, element by element.
template <class T>
class Prologue {
 public:
  /// `saved`: the mask or y, as the geometry says; not read where there is neither mask nor activation.
  Prologue(const ConvGeometry& g, const T* gy, const void* saved)
      : g_(g), gy_(gy), saved_(saved), scale_(g.dropout > 0.f ? dropout_scale<T>(g.dropout) : T{1}) {}

  /// False where the term is dead; else `dz` is the gradient of z(n, oy, ox, k).
  bool live(std::int64_t n, std::int32_t oy, std::int32_t ox, std::int32_t k, T& dz) const {
    int position = 0;
    if (g_.pool) {
      position = oy % 2 * 2 + ox % 2;
      oy /= 2;
      ox /= 2;
      if (oy >= g_.ph || ox >= g_.pw) return false;  // an odd last row or column is not pooled
    }
    const std::int64_t i = ((n * g_.ph + oy) * g_.pw + ox) * g_.k + k;
    const auto fn = static_cast<op::UnaryFn>(g_.activation);
    dz = gy_[i];
    if (g_.mask) {
      if (static_cast<const std::uint8_t*>(saved_)[i] != position) return false;
      if (g_.dropout > 0.f) dz *= scale_;
    } else if (fn != op::UnaryFn::identity) {
      const T y = static_cast<const T*>(saved_)[i];
      if (relu_closed(g_, y)) return false;
      dz = unary_gradient(fn, g_.alpha, dz, y);
    }
    return true;
  }

 private:
  const ConvGeometry& g_;
  const T* gy_;
  const void* saved_;
  T scale_;
};

/// Empty, or why the gradient ops cannot undo this epilogue: without a mask they only have y.
inline const char* prologue_refusal(const op::Epilogue& e) {
  const bool plain = e.activation == op::UnaryFn::identity;
  if (e.saves_mask()) return plain || e.activation == op::UnaryFn::relu ? "" : "a mask expects relu or no activation";
  return plain || op::unary_gradient_reads_output(e.activation)
             ? ""
             : "the activation's gradient needs more than its output";
}
/// Element types of the gradient operands: gy, the other operand, and the mask or y.
inline const char* gradient_inputs(const op::Epilogue& e) {
  return e.saves_mask() ? "ffm" : e.gradient_reads_saved() ? "fff" : "ff";
}

}  // namespace tenon::reference
