// What a value is: element type and extents. Plain data of fixed size, so that it crosses into kernels by value.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace tenon {

enum class DType : std::uint8_t { f32, f64, u8, i32 };

/// Bytes of one element.
[[nodiscard]] std::size_t size_of(DType) noexcept;
[[nodiscard]] const char* name_of(DType) noexcept;

/// Extents of a dense row-major value, outermost first; rank 0 is a scalar.
class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  [[nodiscard]] int rank() const noexcept { return rank_; }
  /// Extent of an axis; a negative axis counts from the end. Throws UsageError when out of range.
  [[nodiscard]] std::int64_t operator[](int axis) const;
  [[nodiscard]] std::int64_t elements() const noexcept;
  [[nodiscard]] std::span<const std::int64_t> extents() const noexcept {
    return {extent_, static_cast<std::size_t>(rank_)};
  }
  /// Product of the extents of axes [first, last).
  [[nodiscard]] std::int64_t product(int first, int last) const noexcept;
  [[nodiscard]] Shape with(int axis, std::int64_t extent) const;
  void push_back(std::int64_t extent);
  /// `(128,28,28,1)`
  [[nodiscard]] std::string str() const;

  friend bool operator==(const Shape& a, const Shape& b) noexcept;

 private:
  std::int64_t extent_[max_rank] = {};
  std::int32_t rank_ = 0;
};

struct TensorSpec {
  DType dtype = DType::f32;
  Shape shape;

  [[nodiscard]] std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  }
  [[nodiscard]] std::string str() const;  // f32(128,10)
  friend bool operator==(const TensorSpec&, const TensorSpec&) noexcept = default;
};

}  // namespace tenon
