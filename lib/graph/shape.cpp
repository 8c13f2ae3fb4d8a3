// Shapes, element types and specs: checks and printing.
#include "tenon/shape.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tenon/error.hpp"

namespace tenon {

std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::f64:
      return 8;
    case DType::u8:
      return 1;
    case DType::i32:
      return 4;
  }
  return 0;
}

const char* name_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::u8:
      return "u8";
    case DType::i32:
      return "i32";
  }
  return "?";
}

Shape::Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) {
  for (const std::int64_t e : extents) push_back(e);
}

std::int64_t Shape::operator[](int axis) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  if (a < 0 || a >= rank_)
    throw UsageError(fmt::format("[shape] axis {} expected to lie in {} of rank {}", axis, str(), rank_));
  return extent_[a];
}

std::int64_t Shape::elements() const noexcept { return product(0, rank_); }

std::int64_t Shape::product(int first, int last) const noexcept {
  std::int64_t p = 1;
  for (int i = first; i < last; ++i) p *= extent_[i];
  return p;
}

Shape Shape::with(int axis, std::int64_t extent) const {
  Shape s = *this;
  (void)s[axis];
  s.extent_[axis < 0 ? axis + rank_ : axis] = extent;
  return s;
}

void Shape::push_back(std::int64_t extent) {
  if (rank_ == max_rank) throw UsageError(fmt::format("[shape] at most {} axes, found more after {}", max_rank, str()));
  if (extent < -1) throw UsageError(fmt::format("[shape] extents are 0 or more, found {} after {}", extent, str()));
  extent_[rank_++] = extent;
}

std::string Shape::str() const { return fmt::format("({})", fmt::join(extents(), ",")); }

bool operator==(const Shape& a, const Shape& b) noexcept { return std::ranges::equal(a.extents(), b.extents()); }

std::string TensorSpec::str() const { return name_of(dtype) + shape.str(); }

}  // namespace tenon
