// Host data with a shape: what users pass in and get back. Copies share the storage; clone() does not.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "tenon/shape.hpp"

namespace tenon {

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}

class Array {
 public:
  Array() = default;
  /// Zero-filled, 64-byte aligned.
  explicit Array(TensorSpec spec);
  Array(DType dtype, Shape shape) : Array(TensorSpec{dtype, shape}) {}

  /// Copies `values` (row-major). Throws UsageError when the count differs from the shape's.
  template <class T>
  static Array of(std::span<const T> values, Shape shape) {
    Array a = uninitialised_copy(values.data(), values.size(), {dtype_of<T>(), shape});
    return a;
  }
  template <class T>
  static Array of(const std::vector<T>& values, Shape shape) {
    return of(std::span<const T>(values), shape);
  }
  static Array scalar(float value);

  [[nodiscard]] const TensorSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] const Shape& shape() const noexcept { return spec_.shape; }
  [[nodiscard]] DType dtype() const noexcept { return spec_.dtype; }
  [[nodiscard]] std::int64_t size() const noexcept { return spec_.shape.elements(); }
  [[nodiscard]] bool empty() const noexcept { return storage_ == nullptr; }

  [[nodiscard]] std::byte* bytes() noexcept { return storage_.get(); }
  [[nodiscard]] const std::byte* bytes() const noexcept { return storage_.get(); }

  /// The elements. Throws UsageError when T is not the array's element type.
  template <class T>
  [[nodiscard]] std::span<T> values() {
    require(dtype_of<T>());
    return {reinterpret_cast<T*>(storage_.get()), static_cast<std::size_t>(size())};
  }
  template <class T>
  [[nodiscard]] std::span<const T> values() const {
    require(dtype_of<T>());
    return {reinterpret_cast<const T*>(storage_.get()), static_cast<std::size_t>(size())};
  }
  /// Element `i` as a double, whatever the type.
  [[nodiscard]] double at(std::int64_t i) const;
  /// The value of an array with one element.
  [[nodiscard]] double item() const;
  [[nodiscard]] Array clone() const;
  [[nodiscard]] Array to(DType) const;
  /// Same storage, other extents. Throws UsageError when the counts differ.
  [[nodiscard]] Array reshaped(Shape) const;
  /// Rows [begin, end) of the first axis, sharing the storage.
  [[nodiscard]] Array rows(std::int64_t begin, std::int64_t end) const;

 private:
  static Array uninitialised_copy(const void* data, std::size_t count, TensorSpec spec);
  void require(DType) const;

  TensorSpec spec_;
  std::shared_ptr<std::byte> storage_;
};

}  // namespace tenon
