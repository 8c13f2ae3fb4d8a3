// Losses and metrics: named function objects (prediction, target) -> scalar, the mean over the batch.
#pragma once
#include "tenon/ops.hpp"

namespace tenon {

/// A named function of a prediction and a target; a plain pointer inside, so it is constexpr and cheap to copy.
struct Criterion {
  const char* name;
  Tensor (*apply)(Tensor prediction, Tensor target);
  Tensor operator()(Tensor prediction, Tensor target) const { return apply(prediction, target); }
};

namespace detail {
Tensor softmax_crossentropy(Tensor logits, Tensor target);
Tensor categorical_crossentropy(Tensor probabilities, Tensor target);
Tensor sigmoid_crossentropy(Tensor logits, Tensor target);
Tensor binary_crossentropy(Tensor probabilities, Tensor target);
Tensor mean_squared_error(Tensor prediction, Tensor target);
Tensor accuracy(Tensor prediction, Tensor target);
Tensor error_rate(Tensor prediction, Tensor target);
}  // namespace detail

/// On logits (n,c). Target: integer labels (n), or one-hot / probabilities (n,c).
inline constexpr Criterion softmax_crossentropy{"softmax_crossentropy", detail::softmax_crossentropy};
/// On probabilities (n,c). Behind a softmax layer it is computed from the logits, as one stable op.
inline constexpr Criterion categorical_crossentropy{"categorical_crossentropy", detail::categorical_crossentropy};
/// On logits, any shape; target in [0,1].
inline constexpr Criterion sigmoid_crossentropy{"sigmoid_crossentropy", detail::sigmoid_crossentropy};
/// On probabilities, clipped to [1e-7, 1 - 1e-7] as Keras does. Behind a sigmoid it is computed from the logits.
inline constexpr Criterion binary_crossentropy{"binary_crossentropy", detail::binary_crossentropy};
inline constexpr Criterion mean_squared_error{"mean_squared_error", detail::mean_squared_error};

/// Share of rows whose first largest element is the target's class; a row with a NaN is never right.
inline constexpr Criterion accuracy{"accuracy", detail::accuracy};
inline constexpr Criterion error_rate{"error_rate", detail::error_rate};

}  // namespace tenon
