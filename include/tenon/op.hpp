// The operations, as data. `Op` is what users differentiate, `GradOp` is what its rules emit, `UpdateOp` writes
// parameters and state. Every struct is plain data (it crosses into kernels by value) except CustomOp.
// Rules are overload sets over these structs: infer(), vjp(), cost(); a missing one does not compile.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <variant>

#include "tenon/ops.hpp"

namespace tenon {
struct CustomDef;
}

namespace tenon::op {

/// Resolved zero padding.
struct Pad {
  std::int32_t top = 0, bottom = 0, left = 0, right = 0;
  friend bool operator==(const Pad&, const Pad&) = default;
};

enum class UnaryFn : std::uint8_t {
  identity,
  relu,
  leaky_relu,
  elu,
  gelu,
  silu,
  sigmoid,
  tanh,
  affine,
  exp,
  log,
  sqrt,
  square,
  abs
};

/// Absorbed tail of a contraction, applied in this order: bias, activation, 2x2 max-pool of stride 2, dropout.
/// With pool or dropout the op has a second output, one byte an element: the argmax in its window (0..3, row-major),
/// or `killed` by relu or dropout; the gradient needs nothing else.
struct Epilogue {
  static constexpr std::uint8_t killed = 255;
  bool bias = false;
  bool pool = false;
  UnaryFn activation = UnaryFn::identity;
  float alpha = 0.f;
  float dropout = 0.f;
  std::int32_t site = 0;  // Philox call site of the dropout

  [[nodiscard]] bool saves_mask() const { return pool || dropout > 0.f; }
  [[nodiscard]] bool any() const { return bias || pool || dropout > 0.f || activation != UnaryFn::identity; }
  /// The gradient reads a saved value: the mask, or the output where there is only an activation.
  [[nodiscard]] bool gradient_reads_saved() const { return saves_mask() || activation != UnaryFn::identity; }
  friend bool operator==(const Epilogue&, const Epilogue&) = default;
};

// --- Op -----------------------------------------------------------------------------------------------------------
struct Conv2d {  // x, filter, [bias] -> y, [mask]
  static constexpr std::string_view name = "conv2d";
  Hw stride{1, 1}, dilation{1, 1};
  Pad pad{};
  std::int32_t groups = 1;
  Epilogue epilogue{};
};
struct MatMul {  // a, b, [bias] -> y, [mask]
  static constexpr std::string_view name = "matmul";
  bool transpose_a = false, transpose_b = false;
  Epilogue epilogue{};
};
struct BiasAdd {  // x (..., c), bias (c) -> y
  static constexpr std::string_view name = "bias_add";
};
enum class PoolFn : std::uint8_t { max, avg };
struct Pool2d {  // x -> y, [max: i32 offset of the winner in its window]
  static constexpr std::string_view name = "pool2d";
  PoolFn fn = PoolFn::max;
  Hw window{2, 2}, stride{2, 2};
  Pad pad{};
};
struct Unary {  // x -> y
  static constexpr std::string_view name = "unary";
  UnaryFn fn = UnaryFn::identity;
  float alpha = 0.f, beta = 0.f;  // affine: alpha x + beta
};
enum class BinaryFn : std::uint8_t { add, sub, mul, div };
struct Binary {  // a, b -> y, broadcasting
  static constexpr std::string_view name = "binary";
  BinaryFn fn = BinaryFn::add;
};
struct Softmax {  // x (..., c) -> y, over the last axis
  static constexpr std::string_view name = "softmax";
  bool log = false;
};
struct SoftmaxCrossEntropy {  // logits (n,c), labels i32/u8 (n) or probabilities (n,c) -> loss (n), probabilities (n,c)
  static constexpr std::string_view name = "softmax_crossentropy";
};
struct SigmoidCrossEntropy {  // logits, target -> loss, elementwise
  static constexpr std::string_view name = "sigmoid_crossentropy";
};
struct BinaryCrossEntropy {  // probabilities, target -> loss, elementwise
  static constexpr std::string_view name = "binary_crossentropy";
  float epsilon = 1e-7f;
};
struct Dropout {  // x -> y, mask u8 (1: kept)
  static constexpr std::string_view name = "dropout";
  float rate = 0.f;
  std::int32_t site = 0;
};
struct Reshape {  // x -> y, the same memory
  static constexpr std::string_view name = "reshape";
  Shape shape;
};
struct Transpose {  // axis i of y is axis perm[i] of x
  static constexpr std::string_view name = "transpose";
  std::int8_t perm[Shape::max_rank] = {};
};
struct Concat {  // parts -> y
  static constexpr std::string_view name = "concat";
  std::int32_t axis = 0;
};
struct Slice {  // x -> y
  static constexpr std::string_view name = "slice";
  std::int32_t axis = 0;
  std::int64_t begin = 0, length = 0;
};
struct Gather {  // table (v, ...), ids i32 -> ids.shape + table.shape[1:]
  static constexpr std::string_view name = "gather";
};
enum class ReduceFn : std::uint8_t { sum, mean, max, min };
struct Reduce {  // x -> y, over the neighbouring axes [axis, axis + count)
  static constexpr std::string_view name = "reduce";
  ReduceFn fn = ReduceFn::sum;
  std::int32_t axis = 0, count = 1;
  bool keepdims = false;
};
struct BroadcastTo {  // x -> y
  static constexpr std::string_view name = "broadcast_to";
  Shape shape;
};
struct Correct {  // scores (n,c), labels (n) or probabilities (n,c) -> 1 or 0 (n); not differentiable
  static constexpr std::string_view name = "correct";
};
struct CustomOp {  // the user's; see custom_op.hpp
  static constexpr std::string_view name = "custom";
  std::shared_ptr<const CustomDef> def;
};

// --- GradOp: the output's gradient comes first -----------------------------------------------------------------------
// Those of an op with an epilogue take the gradient of the epilogue's output and undo the epilogue themselves
// (their prologue): dead terms are skipped by mask, never by comparing a value with 0.
struct Conv2dGradInput {  // gy, filter, [mask or y] -> gx (n,h,w,c)
  static constexpr std::string_view name = "conv2d_grad_input";
  Conv2d forward;
  std::int32_t h = 0, w = 0;
};
struct Conv2dGradFilter {  // gy, x, [mask or y] -> gfilter, [gbias]
  static constexpr std::string_view name = "conv2d_grad_filter";
  Conv2d forward;
  Hw kernel;
};
struct MatMulGradA {  // gy, b, [mask or y] -> ga
  static constexpr std::string_view name = "matmul_grad_a";
  MatMul forward;
};
struct MatMulGradB {  // gy, a, [mask or y] -> gb, [gbias]
  static constexpr std::string_view name = "matmul_grad_b";
  MatMul forward;
};
struct BiasGrad {  // gy (..., c) -> gbias (c)
  static constexpr std::string_view name = "bias_grad";
};
struct Pool2dGrad {  // gy, [max: winners] -> gx (n,h,w,c)
  static constexpr std::string_view name = "pool2d_grad";
  Pool2d forward;
  std::int32_t h = 0, w = 0;
};
struct UnaryGrad {  // gy, x or y (see unary_gradient_reads_output) -> gx
  static constexpr std::string_view name = "unary_grad";
  Unary forward;
};
struct SoftmaxGrad {  // gy, y -> gx
  static constexpr std::string_view name = "softmax_grad";
  bool log = false;
};
struct SoftmaxCrossEntropyGrad {  // gloss (n), probabilities (n,c), labels -> glogits (n,c)
  static constexpr std::string_view name = "softmax_crossentropy_grad";
};
struct SigmoidCrossEntropyGrad {  // gy, logits, target -> glogits
  static constexpr std::string_view name = "sigmoid_crossentropy_grad";
};
struct BinaryCrossEntropyGrad {  // gy, probabilities, target -> gprobabilities
  static constexpr std::string_view name = "binary_crossentropy_grad";
  float epsilon = 1e-7f;
};
struct DropoutGrad {  // gy, mask -> gx
  static constexpr std::string_view name = "dropout_grad";
  float rate = 0.f;
};
struct SliceGrad {  // gy -> gx, zero outside the slice
  static constexpr std::string_view name = "slice_grad";
  Slice forward;
  std::int64_t extent = 0;  // of the sliced axis of x
};
struct GatherGrad {  // gy, ids -> gtable (v, ...)
  static constexpr std::string_view name = "gather_grad";
  std::int64_t rows = 0;
  std::int32_t ids_rank = 1;
};
struct ReduceSelectGrad {  // gy, x, y -> gx: max and min; the first winner takes it all
  static constexpr std::string_view name = "reduce_select_grad";
  Reduce forward;
};
// Not a gradient, and never differentiated: the group pass makes it after differentiation.
struct PointwiseChain {  // up to 8 operands, each of the full element count or a single value -> the last result
  static constexpr std::string_view name = "pointwise_chain";
  static constexpr std::int32_t max_count = 12, max_operands = 8;
  enum class Form : std::uint8_t { unary, unary_grad, binary };
  /// a, b: below max_operands an operand of the chain, else max_operands + i, the result of instruction i.
  struct Instruction {
    Form form = Form::unary;
    std::uint8_t fn = 0;  // UnaryFn, or BinaryFn for binary
    std::uint8_t a = 0, b = 0;
    float alpha = 0.f, beta = 0.f;

    [[nodiscard]] UnaryFn unary() const { return static_cast<UnaryFn>(fn); }
    [[nodiscard]] BinaryFn binary() const { return static_cast<BinaryFn>(fn); }
    [[nodiscard]] int arity() const { return form == Form::unary ? 1 : 2; }
  };
  std::int32_t count = 0;
  Instruction code[max_count] = {};
};

// --- UpdateOp: writes its first operands in place ---------------------------------------------------------------------
// Operands are ranges of the slabs: parameters, gradients, then the optimizer's own, then [clip scale].
// A non-zero `halt` in the control block turns each into a no-op.
struct UpdateCommon {
  float lr_scale = 1.f;
  float weight_decay = 0.f;
  bool clipped = false;  // the last operand scales the gradient
};
struct SgdUpdate {
  static constexpr std::string_view name = "sgd_update";
  UpdateCommon common;
  float momentum = 0.f;
  bool nesterov = false;
};
struct AdadeltaUpdate {
  static constexpr std::string_view name = "adadelta_update";
  UpdateCommon common;
  float rho = 0.95f, epsilon = 1e-7f;
};
struct AdagradUpdate {
  static constexpr std::string_view name = "adagrad_update";
  UpdateCommon common;
  float epsilon = 1e-7f;
};
struct RmspropUpdate {
  static constexpr std::string_view name = "rmsprop_update";
  UpdateCommon common;
  float rho = 0.9f, momentum = 0.f, epsilon = 1e-7f;
  bool epsilon_inside = true;  // g / sqrt(v + eps), as Keras; else g / (sqrt(v) + eps), as PyTorch
};
struct AdamUpdate {
  static constexpr std::string_view name = "adam_update";
  UpdateCommon common;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-7f;
  bool decoupled = false;  // AdamW: decay applied to the parameter, not added to the gradient
};
struct AccumulateGrad {  // acc, g: acc = first ? scale g : acc + scale g
  static constexpr std::string_view name = "accumulate_grad";
  float scale = 1.f;
};
struct ClipNorm {  // g -> scale f32 (1): min(1, max_norm / ||g||)
  static constexpr std::string_view name = "clip_norm";
  float max_norm = 1.f;
};
struct AssignEma {  // state, value: state = momentum state + (1 - momentum) value
  static constexpr std::string_view name = "assign_ema";
  float momentum = 0.f;
};
struct CheckFinite {  // loss: sets halt when it is not finite
  static constexpr std::string_view name = "check_finite";
};
struct UnscaleGrad {  // g: g = scale g; sets halt to overflow, until the update is skipped, where one is not finite
  static constexpr std::string_view name = "unscale_grad";
  float scale = 1.f;  // 1 / loss scale
};

using Op = std::variant<Conv2d, MatMul, BiasAdd, Pool2d, Unary, Binary, Softmax, SoftmaxCrossEntropy,
                        SigmoidCrossEntropy, BinaryCrossEntropy, Dropout, Reshape, Transpose, Concat, Slice, Gather,
                        Reduce, BroadcastTo, Correct, CustomOp>;
using GradOp =
    std::variant<Conv2dGradInput, Conv2dGradFilter, MatMulGradA, MatMulGradB, BiasGrad, Pool2dGrad, UnaryGrad,
                 SoftmaxGrad, SoftmaxCrossEntropyGrad, SigmoidCrossEntropyGrad, BinaryCrossEntropyGrad, DropoutGrad,
                 SliceGrad, GatherGrad, ReduceSelectGrad, PointwiseChain>;
using UpdateOp = std::variant<SgdUpdate, AdadeltaUpdate, AdagradUpdate, RmspropUpdate, AdamUpdate, AccumulateGrad,
                              ClipNorm, AssignEma, CheckFinite, UnscaleGrad>;

namespace detail {
template <class... Vs>
struct Concatenate;
template <class... A, class... B, class... C>
struct Concatenate<std::variant<A...>, std::variant<B...>, std::variant<C...>> {
  using type = std::variant<A..., B..., C...>;
};
template <class T, class V>
struct Holds;
template <class T, class... Ts>
struct Holds<T, std::variant<Ts...>> : std::bool_constant<(std::is_same_v<T, Ts> || ...)> {};
template <class T, class... Ts>
consteval int index_in(const std::variant<Ts...>*) {
  int i = 0, found = -1;
  ((std::is_same_v<T, Ts> ? found = i : 0, ++i), ...);
  return found;
}
}  // namespace detail

/// Any operation that a node can hold.
using AnyOp = detail::Concatenate<Op, GradOp, UpdateOp>::type;

/// Index of an operation in AnyOp: the key of the kernel tables.
using Kind = std::int32_t;
template <class T>
inline constexpr Kind kind_of = detail::index_in<T>(static_cast<const AnyOp*>(nullptr));

template <class T>
concept Differentiable = detail::Holds<T, Op>::value;
template <class T>
concept Gradient = detail::Holds<T, GradOp>::value;
template <class T>
concept Update = detail::Holds<T, UpdateOp>::value;

[[nodiscard]] inline Kind kind(const AnyOp& any) { return static_cast<Kind>(any.index()); }
/// `conv2d`; for pointwise operations the function: `relu`, `add`.
[[nodiscard]] std::string_view name_of(const AnyOp&);
[[nodiscard]] std::string_view name_of(Kind);
inline constexpr Kind kinds = static_cast<Kind>(std::variant_size_v<AnyOp>);

[[nodiscard]] const char* name_of(UnaryFn);
/// One instruction of a chain as the operation that it replaces.
[[nodiscard]] AnyOp op_of(const PointwiseChain::Instruction&);
/// True where the derivative is cheaper from y = f(x): relu, elu, sigmoid, tanh, exp, sqrt ...
[[nodiscard]] constexpr bool unary_gradient_reads_output(UnaryFn fn) {
  switch (fn) {
    case UnaryFn::relu:
    case UnaryFn::leaky_relu:
    case UnaryFn::elu:
    case UnaryFn::sigmoid:
    case UnaryFn::tanh:
    case UnaryFn::exp:
    case UnaryFn::sqrt:
      return true;
    default:
      return false;
  }
}

}  // namespace tenon::op
