// The handle that users compose: a graph and an index. Nothing runs until the graph is compiled.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/array.hpp"

namespace tenon {

class Graph;

class Tensor {
 public:
  Tensor() = default;
  Tensor(Graph* graph, std::int32_t id) : graph_(graph), id_(id) {}

  [[nodiscard]] const Shape& shape() const;
  [[nodiscard]] DType dtype() const;
  [[nodiscard]] Graph& graph() const;
  [[nodiscard]] std::int32_t id() const noexcept { return id_; }
  [[nodiscard]] explicit operator bool() const noexcept { return graph_ != nullptr; }

 private:
  Graph* graph_ = nullptr;
  std::int32_t id_ = -1;
};

/// Named tensors in the order given: a model's inputs, outputs and targets.
class Values {
 public:
  Values() = default;
  Values(std::initializer_list<std::pair<std::string, Tensor>> items) : items_(items) {}
  explicit Values(std::vector<std::pair<std::string, Tensor>> items) : items_(std::move(items)) {}

  /// Throws UsageError that lists the names there are.
  [[nodiscard]] Tensor operator[](std::string_view name) const;
  /// The only value. Throws UsageError when there are more or none.
  [[nodiscard]] Tensor only() const;
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] auto begin() const noexcept { return items_.begin(); }
  [[nodiscard]] auto end() const noexcept { return items_.end(); }

 private:
  std::vector<std::pair<std::string, Tensor>> items_;
};

}  // namespace tenon
