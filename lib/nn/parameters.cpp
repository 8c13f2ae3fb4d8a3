// Parameters: declaration while tracing, one slab afterwards.
#include "tenon/parameters.hpp"

#include <fmt/format.h>

#include <cstring>

#include "lib/ops/check.hpp"

namespace tenon {

bool matches(std::string_view pattern, std::string_view name) {
  // Backtracks to the last star only: linear in practice.
  std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::int64_t Parameters::trainable_count() const noexcept {
  std::int64_t sum = 0;
  for (const Parameter& p : list_) sum += p.trainable ? p.shape.elements() : 0;
  return sum;
}

std::int64_t Parameters::count() const noexcept {
  std::int64_t sum = 0;
  for (const Parameter& p : list_) sum += p.shape.elements();
  return sum;
}

std::size_t Parameters::index_of(std::string_view name) const {
  for (std::size_t i = 0; i < list_.size(); ++i)
    if (list_[i].name == name) return i;
  std::vector<std::string_view> names;
  for (const Parameter& p : list_) names.push_back(p.name);
  reject("parameters", "no '{}' among: {}", name, fmt::join(names, ", "));
}

std::size_t Parameters::declare(const std::string& name, const Shape& shape, Initializer init, bool trainable) {
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (list_[i].name != name) continue;
    if (list_[i].shape != shape)
      reject("parameters", "'{}' expects {}, as first traced, found {}", name, list_[i].shape.str(), shape.str());
    return i;
  }
  if (sealed_)
    reject("parameters", "'{}' was not seen in the first trace: a model declares the same parameters every time", name);
  list_.push_back({name, shape, init, trainable, elements_});
  elements_ += (shape.elements() + alignment - 1) / alignment * alignment;
  return list_.size() - 1;
}

void Parameters::seal(DType dtype) {
  if (sealed_) return;
  sealed_ = true;
  dtype_ = dtype;
  slab_ = Array(dtype, {elements_});
}

Array Parameters::get(std::string_view name) const {
  const Parameter& p = list_[index_of(name)];
  Array a(dtype_, p.shape);
  std::memcpy(a.bytes(), slab_.bytes() + static_cast<std::size_t>(p.offset) * size_of(dtype_), a.spec().bytes());
  return a;
}

void Parameters::set(std::string_view name, const Array& value) {
  const Parameter& p = list_[index_of(name)];
  if (value.shape() != p.shape)
    reject("parameters", "'{}' expects {}, found {}", name, p.shape.str(), value.shape().str());
  const Array converted = value.dtype() == dtype_ ? value : value.to(dtype_);
  std::memcpy(slab_.bytes() + static_cast<std::size_t>(p.offset) * size_of(dtype_), converted.bytes(),
              converted.spec().bytes());
}

std::uint64_t Parameters::hash() const {
  std::uint64_t h = 14695981039346656037ULL;
  for (const Parameter& p : list_) {
    const std::byte* begin = slab_.bytes() + static_cast<std::size_t>(p.offset) * size_of(dtype_);
    const std::byte* end = begin + static_cast<std::size_t>(p.shape.elements()) * size_of(dtype_);
    for (const std::byte* b = begin; b != end; ++b) h = (h ^ static_cast<std::uint64_t>(*b)) * 1099511628211ULL;
  }
  return h;
}

}  // namespace tenon
