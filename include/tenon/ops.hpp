// The functions that users compose. Each adds nodes to the graph of its operands, checks shapes at once and throws
// UsageError `[op] what was expected, what was found`. Layout is NHWC; filters are (kh, kw, c / groups, k).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tenon/tensor.hpp"

namespace tenon {

struct Hw {
  std::int32_t h = 1, w = 1;
  friend bool operator==(const Hw&, const Hw&) = default;
};

/// Zero padding of the two image axes.
struct Padding {
  enum class Mode : std::uint8_t { valid, same, explicit_ };
  Mode mode = Mode::valid;
  std::int32_t top = 0, bottom = 0, left = 0, right = 0;  // with Mode::explicit_ only

  static constexpr Padding valid() { return {}; }
  /// Output extent is ceil(input / stride); the odd pixel goes to the bottom and the right, as in Keras.
  static constexpr Padding same() { return {.mode = Mode::same}; }
  static constexpr Padding all(std::int32_t p) { return {Mode::explicit_, p, p, p, p}; }
  static constexpr Padding of(std::int32_t top, std::int32_t bottom, std::int32_t left, std::int32_t right) {
    return {Mode::explicit_, top, bottom, left, right};
  }
  friend bool operator==(const Padding&, const Padding&) = default;
};

struct Conv2dOptions {
  Hw stride{1, 1};
  Padding padding{};
  Hw dilation{1, 1};
  std::int32_t groups = 1;
};

struct Pool2dOptions {
  Hw window{2, 2};
  Hw stride{0, 0};  // 0: the window
  Padding padding{};
};

struct MatMulOptions {
  bool transpose_a = false, transpose_b = false;
};

// --- contractions -------------------------------------------------------------------------------------------------
/// x (n,h,w,c), filter (kh,kw,c/groups,k) -> (n,oh,ow,k): cross-correlation, as every peer calls convolution.
Tensor conv2d(Tensor x, Tensor filter, Conv2dOptions = {});
/// a (m,k), b (k,n) -> (m,n).
Tensor matmul(Tensor a, Tensor b, MatMulOptions = {});
/// x (..., c) + bias (c).
Tensor bias_add(Tensor x, Tensor bias);

// --- pooling: x (n,h,w,c) -> (n,oh,ow,c) --------------------------------------------------------------------------
/// Ties go to the first element in row-major order; NaN wins.
Tensor max_pool2d(Tensor x, Pool2dOptions = {});
/// Padding is not counted in the mean.
Tensor avg_pool2d(Tensor x, Pool2dOptions = {});
Tensor global_max_pool2d(Tensor x);  // -> (n,1,1,c)
Tensor global_avg_pool2d(Tensor x);  // -> (n,1,1,c)

// --- pointwise ----------------------------------------------------------------------------------------------------
Tensor add(Tensor a, Tensor b);  // NumPy broadcasting, here and below
Tensor sub(Tensor a, Tensor b);
Tensor mul(Tensor a, Tensor b);
Tensor div(Tensor a, Tensor b);
/// scale * x + shift
Tensor affine(Tensor x, float scale, float shift = 0.f);
Tensor exp(Tensor x);
Tensor log(Tensor x);
Tensor sqrt(Tensor x);
Tensor square(Tensor x);
Tensor abs(Tensor x);

inline Tensor operator+(Tensor a, Tensor b) { return add(a, b); }
inline Tensor operator-(Tensor a, Tensor b) { return sub(a, b); }
inline Tensor operator*(Tensor a, Tensor b) { return mul(a, b); }
inline Tensor operator/(Tensor a, Tensor b) { return div(a, b); }
inline Tensor operator-(Tensor a) { return affine(a, -1.f); }
inline Tensor operator+(Tensor a, float s) { return affine(a, 1.f, s); }
inline Tensor operator+(float s, Tensor a) { return affine(a, 1.f, s); }
inline Tensor operator-(Tensor a, float s) { return affine(a, 1.f, -s); }
inline Tensor operator-(float s, Tensor a) { return affine(a, -1.f, s); }
inline Tensor operator*(Tensor a, float s) { return affine(a, s); }
inline Tensor operator*(float s, Tensor a) { return affine(a, s); }
Tensor operator/(Tensor a, float s);

// --- shape; an axis below 0 counts from the end, here and below ---------------------------------------------------
/// One extent may be -1. No copy is made.
Tensor reshape(Tensor x, Shape shape);
/// (n, ...) -> (n, product of the rest)
Tensor flatten(Tensor x);
/// Axis i of the result is axis perm[i] of x.
Tensor transpose(Tensor x, std::span<const int> perm);
Tensor transpose(Tensor x, std::initializer_list<int> perm);
Tensor concat(const std::vector<Tensor>& parts, int axis);
/// Elements [begin, begin + length) of an axis.
Tensor slice(Tensor x, int axis, std::int64_t begin, std::int64_t length);
/// Rows of table (v, ...) by ids i32 (any shape) -> ids.shape + table.shape[1:]. An id out of range is a DataError.
Tensor gather(Tensor table, Tensor ids);
Tensor broadcast_to(Tensor x, Shape shape);

// --- reductions ---------------------------------------------------------------------------------------------------
Tensor sum(Tensor x);   // over everything -> scalar
Tensor mean(Tensor x);  // over everything -> scalar
Tensor sum(Tensor x, int axis, bool keepdims = false);
Tensor mean(Tensor x, int axis, bool keepdims = false);
Tensor max(Tensor x, int axis, bool keepdims = false);
Tensor min(Tensor x, int axis, bool keepdims = false);

// --- stochastic ---------------------------------------------------------------------------------------------------
/// Inverted dropout: keeps each element with probability 1 - rate and scales it by 1 / (1 - rate); identity outside
/// training. The mask is Philox4x32-10 at (seed; epoch, step, call site, element), 16 bits an element: the rate is rounded to a
/// multiple of 2^-16.
Tensor dropout(Tensor x, float rate);

// --- activations: function objects with a name, usable as layers, as `.activation=` and in files --------------------
class Activation {
 public:
  enum class Kind : std::uint8_t { linear, relu, leaky_relu, elu, gelu, silu, sigmoid, tanh, softmax, log_softmax };

  constexpr Activation() = default;
  constexpr Activation(Kind kind, float alpha = 0.f) : kind_(kind), alpha_(alpha) {}

  Tensor operator()(Tensor x) const;
  /// The same activation with another slope: `leaky_relu.with(0.1f)`.
  [[nodiscard]] constexpr Activation with(float alpha) const { return {kind_, alpha}; }
  [[nodiscard]] constexpr Kind kind() const { return kind_; }
  [[nodiscard]] constexpr float alpha() const { return alpha_; }
  [[nodiscard]] const char* name() const;
  /// Throws UsageError that lists the names there are.
  static Activation named(std::string_view name, float alpha);
  friend constexpr bool operator==(const Activation&, const Activation&) = default;

 private:
  Kind kind_ = Kind::linear;
  float alpha_ = 0.f;
};

inline constexpr Activation linear{Activation::Kind::linear};
inline constexpr Activation relu{Activation::Kind::relu};
inline constexpr Activation leaky_relu{Activation::Kind::leaky_relu, 0.01f};
inline constexpr Activation elu{Activation::Kind::elu, 1.f};
inline constexpr Activation gelu{Activation::Kind::gelu};  // exact: x * Phi(x)
inline constexpr Activation silu{Activation::Kind::silu};
inline constexpr Activation sigmoid{Activation::Kind::sigmoid};
inline constexpr Activation tanh{Activation::Kind::tanh};
inline constexpr Activation softmax{Activation::Kind::softmax};          // over the last axis
inline constexpr Activation log_softmax{Activation::Kind::log_softmax};  // over the last axis

Tensor softmax_over(Tensor x, int axis);

}  // namespace tenon
