// Host arrays: aligned shared storage with a spec.
#include "tenon/array.hpp"

#include <fmt/format.h>

#include <cstring>

#include "lib/runtime/host_memory.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

constexpr std::size_t alignment = 64;

std::shared_ptr<std::byte> allocate(std::size_t bytes) {
  // Whole vectors at the end, so that a kernel may read a full last vector.
  const std::size_t size = (bytes + alignment) / alignment * alignment;
  return {static_cast<std::byte*>(allocate_host(size)), [](std::byte* p) { release_host(p); }};
}

template <class To>
void convert(const Array& from, Array& to) {
  auto out = to.values<To>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<To>(from.at(static_cast<std::int64_t>(i)));
}

}  // namespace

Array::Array(TensorSpec spec) : spec_(spec), storage_(allocate(spec.bytes())) {
  std::memset(storage_.get(), 0, spec.bytes());
}

Array Array::uninitialised_copy(const void* data, std::size_t count, TensorSpec spec) {
  if (static_cast<std::int64_t>(count) != spec.shape.elements())
    throw UsageError(
        fmt::format("[array] {} has {} elements, found {} values", spec.shape.str(), spec.shape.elements(), count));
  Array a;
  a.spec_ = spec;
  a.storage_ = allocate(spec.bytes());
  if (count > 0) std::memcpy(a.storage_.get(), data, spec.bytes());
  return a;
}

Array Array::scalar(float value) { return of(std::span<const float>(&value, 1), Shape{}); }

void Array::require(DType dtype) const {
  if (spec_.dtype != dtype)
    throw UsageError(fmt::format("[array] elements are {}, asked for {}", name_of(spec_.dtype), name_of(dtype)));
}

double Array::at(std::int64_t i) const {
  if (i < 0 || i >= size()) throw UsageError(fmt::format("[array] element {} expected to lie in {}", i, spec_.str()));
  switch (spec_.dtype) {
    case DType::f32:
      return reinterpret_cast<const float*>(bytes())[i];
    case DType::f64:
      return reinterpret_cast<const double*>(bytes())[i];
    case DType::u8:
      return reinterpret_cast<const std::uint8_t*>(bytes())[i];
    case DType::i32:
      return reinterpret_cast<const std::int32_t*>(bytes())[i];
  }
  return 0;
}

double Array::item() const {
  if (size() != 1) throw UsageError(fmt::format("[array] item() expects one element, found {}", spec_.str()));
  return at(0);
}

Array Array::clone() const { return uninitialised_copy(bytes(), static_cast<std::size_t>(size()), spec_); }

Array Array::to(DType dtype) const {
  Array out(TensorSpec{dtype, spec_.shape});
  switch (dtype) {
    case DType::f32:
      convert<float>(*this, out);
      break;
    case DType::f64:
      convert<double>(*this, out);
      break;
    case DType::u8:
      convert<std::uint8_t>(*this, out);
      break;
    case DType::i32:
      convert<std::int32_t>(*this, out);
      break;
  }
  return out;
}

Array Array::reshaped(Shape shape) const {
  if (shape.elements() != size())
    throw UsageError(fmt::format("[array] cannot view {} as {}: {} elements, found {}", spec_.shape.str(), shape.str(),
                                 size(), shape.elements()));
  Array a = *this;
  a.spec_.shape = shape;
  return a;
}

Array Array::rows(std::int64_t begin, std::int64_t end) const {
  const std::int64_t n = spec_.shape[0];
  if (begin < 0 || end > n || begin > end)
    throw UsageError(fmt::format("[array] rows {}..{} expected to lie in {}", begin, end, spec_.shape.str()));
  Array a = *this;
  a.spec_.shape = spec_.shape.with(0, end - begin);
  const std::size_t row = n == 0 ? 0 : spec_.bytes() / static_cast<std::size_t>(n);
  a.storage_ = {storage_, storage_.get() + row * static_cast<std::size_t>(begin)};
  return a;
}

}  // namespace tenon
