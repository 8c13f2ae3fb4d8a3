// Checks of gradients and kernels by numbers, for the library's operations and for the user's own.
//
//   gradcheck        gradients in f64 against 4-point central differences, coordinate by coordinate and along random
//                    directions
//   check_providers  every kernel of an operation against the f64 reference
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/array.hpp"
#include "tenon/tensor.hpp"

namespace tenon {

class CustomFunction;  // custom_op.hpp

struct GradcheckOptions {
  double tolerance = 1e-8;             // relative to the largest gradient of the input
  std::int64_t max_coordinates = 512;  // of each input; a seeded sample where it has more
  int directions = 16;                 // random, through all inputs at once
  double max_kinks = 0.05;             // share of the coordinates and directions that may lie at a kink
  std::uint64_t seed = 1;              // of the sample, the directions, the weighting and dropout masks
};

struct GradReport {
  bool ok = false;
  double worst = 0;  // largest |analytic - numeric| / largest gradient of its input
  std::int64_t checked = 0, skipped = 0;
  std::string text;  // what was checked, what lies at a kink, and the worst coordinate of each input
};

/// A function of tensors, in the order of the arrays.
using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

/// Compares the gradient of f at `inputs` with (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h, in f64 on the
/// reference provider, h = eps^(1/5) max(1, |x|). A result that is no scalar counts by a fixed random weighting. Integer
/// inputs are not differentiated. Where the difference quotient disagrees, smaller steps are tried; a coordinate that
/// still lies within 2h of a kink is skipped, counted and named in the text. Throws UsageError where f does.
[[nodiscard]] GradReport gradcheck(const TensorFunction& f, const std::vector<Array>& inputs,
                                   const GradcheckOptions& options = {});

namespace detail {
inline constexpr std::size_t max_arity = 8;

template <std::size_t>
using TensorAt = Tensor;
template <class F, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return std::is_invocable_r_v<Tensor, const F&, TensorAt<I>...>;
}
template <class F, std::size_t... I>
Tensor call(const F& f, const std::vector<Tensor>& t, std::index_sequence<I...>) {
  return f(t[I]...);
}
[[noreturn]] void wrong_arity(std::size_t arrays);

template <class F, std::size_t N>
bool call_with(const F& f, const std::vector<Tensor>& t, Tensor& result) {
  if constexpr (takes<F>(std::make_index_sequence<N>())) {
    if (t.size() != N) return false;
    result = call(f, t, std::make_index_sequence<N>());
    return true;
  } else {
    return false;
  }
}
template <class F, std::size_t... I>
Tensor call_any(const F& f, const std::vector<Tensor>& t, std::index_sequence<I...>) {
  Tensor result;
  if (!(call_with<F, I + 1>(f, t, result) || ...)) wrong_arity(t.size());
  return result;
}
template <class F>
TensorFunction as_tensor_function(F f) {
  return [f = std::move(f)](const std::vector<Tensor>& t) {
    return call_any(f, t, std::make_index_sequence<max_arity>());
  };
}
}  // namespace detail

/// The same for a function of as many Tensors as there are arrays: gradcheck([](Tensor x, Tensor w) {...}, {x0, w0}).
template <class F>
requires(!std::is_invocable_r_v<Tensor, const F&, const std::vector<Tensor>&>) [[nodiscard]] GradReport
    gradcheck(F f, const std::vector<Array>& inputs, const GradcheckOptions& options = {}) {
  return gradcheck(detail::as_tensor_function(std::move(f)), inputs, options);
}

struct ProviderCheckOptions {
  double low = -1, high = 1;  // range of random inputs
  int threads = 2;
  std::uint64_t seed = 1;
};

/// One row of a kernel table on one problem.
struct ProviderResult {
  std::string op, provider;
  bool canonical = false;
  bool ok = false;
  double worst = 0;     // largest error / bound; a result that has to be exact counts 0 or infinity
  std::string refusal;  // why the row did not take the problem; then it is ok
  std::string fault;    // what is wrong, where it is
};

struct ProviderReport {
  bool ok = false;
  std::vector<ProviderResult> rows;
  std::string text;  // the rows as a table
};

/// Runs every kernel of the user's operation on random inputs and compares it with the definition (.reference):
/// |error| <= 24 * 2^-24 * max |exact| for a pointwise one, and in general 8 (sqrt(K) + 2) for K inputs an output.
/// Writes before or behind an output, and outputs left unwritten, are faults.
[[nodiscard]] ProviderReport check_providers(const CustomFunction& f, const std::vector<TensorSpec>& in,
                                             const ProviderCheckOptions& options = {});

/// Traces f with its gradient and does the same for each operation in it, over all rows of the CPU: canonical rows have
/// to equal the reference bit for bit, the others keep a bound that depends on the length of their sums.
[[nodiscard]] ProviderReport check_providers(const TensorFunction& f, const std::vector<Array>& inputs,
                                             const ProviderCheckOptions& options = {});
template <class F>
requires(!std::is_invocable_r_v<Tensor, const F&, const std::vector<Tensor>&> && !std::is_same_v<F, CustomFunction>)
    [[nodiscard]] ProviderReport
    check_providers(F f, const std::vector<Array>& inputs, const ProviderCheckOptions& options = {}) {
  return check_providers(detail::as_tensor_function(std::move(f)), inputs, options);
}

}  // namespace tenon
