// Operations of the user's own: shape rule, gradient, reference and kernels, given as functions.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tenon/kernel.hpp"
#include "tenon/tensor.hpp"

namespace tenon {

/// Gradient rule of a custom op in terms of tensors: one result per input, an empty Tensor where there is none.
struct CustomVjp {
  std::vector<Tensor> inputs, outputs, grads;  // grads: of the outputs
};

struct CustomKernel {
  std::string provider;  // "user.cpu"; one that reads a GPU's memory begins with "user.cuda"
  Bound (*bind)(const Problem&, const Kernel& row) = nullptr;
};

struct CustomDef {
  std::string name;
  /// Output specs from input specs; throws UsageError.
  std::function<std::vector<TensorSpec>(std::span<const TensorSpec>)> infer{};
  /// Empty: the op is not differentiable.
  std::function<std::vector<Tensor>(const CustomVjp&)> vjp{};
  /// Definition in plain loops over doubles: row-major inputs and outputs. Used by gradcheck and as the last row.
  std::function<void(std::span<const std::span<const double>> in, std::span<const std::span<double>> out)> reference{};
  std::vector<CustomKernel> kernels{};
};

/// A callable handle: `Tensor y = swish(x)`.
class CustomFunction {
 public:
  explicit CustomFunction(std::shared_ptr<const CustomDef> def) : def_(std::move(def)) {}
  template <class... T>
  Tensor operator()(Tensor first, T... rest) const {
    return apply({first, rest...})[0];
  }
  [[nodiscard]] std::vector<Tensor> apply(const std::vector<Tensor>& inputs) const;
  [[nodiscard]] const CustomDef& definition() const { return *def_; }

 private:
  std::shared_ptr<const CustomDef> def_;
};

/// Throws UsageError when name, infer or reference is missing.
[[nodiscard]] CustomFunction define_op(CustomDef def);

/// Shape rule of pointwise operations: the output is like the first input.
[[nodiscard]] std::vector<TensorSpec> same_shape(std::span<const TensorSpec> in);

}  // namespace tenon
