// Parameters: declaration while tracing, one slab afterwards.
#include "tenon/parameters.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "lib/nn/parameter_mirror.hpp"
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

Parameters::Parameters() : mirror_(std::make_shared<ParameterMirror>()) {}

const std::byte* Parameters::slab() const {
  const std::lock_guard lock(mirror_->mutex);
  if (mirror_->newer == ParameterMirror::Newer::device) {
    const std::lock_guard device_lock(mirror_->device->mutex());
    mirror_->device->download(const_cast<std::byte*>(slab_.bytes()), mirror_->slab.data(), mirror_->slab.size());
    mirror_->device->synchronize();
    mirror_->newer = ParameterMirror::Newer::neither;
  }
  return slab_.bytes();
}

std::byte* Parameters::slab() {
  (void)std::as_const(*this).slab();
  const std::lock_guard lock(mirror_->mutex);
  mirror_->newer = ParameterMirror::Newer::host;
  return slab_.bytes();
}

std::byte* Parameters::on_device(Backend& device) {
  if (device.on_host()) return slab();
  const std::size_t bytes = static_cast<std::size_t>(elements_) * size_of(dtype_);
  if (mirror_->device != &device) (void)slab();
  const std::lock_guard lock(mirror_->mutex);
  if (mirror_->device != &device || mirror_->slab.size() != bytes) {
    mirror_->slab = Slab(device, bytes);
    mirror_->device = &device;
    mirror_->newer = ParameterMirror::Newer::host;
  }
  if (mirror_->newer == ParameterMirror::Newer::host && bytes > 0) {
    const std::lock_guard device_lock(device.mutex());
    device.upload(mirror_->slab.data(), slab_.bytes(), bytes);
    device.synchronize();
    mirror_->newer = ParameterMirror::Newer::neither;
  }
  return mirror_->slab.data();
}

void Parameters::changed_on(Backend& device) {
  if (device.on_host()) return;
  const std::lock_guard lock(mirror_->mutex);
  mirror_->newer = ParameterMirror::Newer::device;
}

Array Parameters::get(std::string_view name) const {
  const Parameter& p = list_[index_of(name)];
  Array a(dtype_, p.shape);
  std::memcpy(a.bytes(), slab() + static_cast<std::size_t>(p.offset) * size_of(dtype_), a.spec().bytes());
  return a;
}

void Parameters::set(std::string_view name, const Array& value) {
  const Parameter& p = list_[index_of(name)];
  if (value.shape() != p.shape)
    reject("parameters", "'{}' expects {}, found {}", name, p.shape.str(), value.shape().str());
  const Array converted = value.dtype() == dtype_ ? value : value.to(dtype_);
  std::memcpy(slab() + static_cast<std::size_t>(p.offset) * size_of(dtype_), converted.bytes(),
              converted.spec().bytes());
}

std::uint64_t Parameters::hash() const {
  std::uint64_t h = 14695981039346656037ULL;
  const std::byte* values = slab();
  for (const Parameter& p : list_) {
    const std::byte* begin = values + static_cast<std::size_t>(p.offset) * size_of(dtype_);
    const std::byte* end = begin + static_cast<std::size_t>(p.shape.elements()) * size_of(dtype_);
    for (const std::byte* b = begin; b != end; ++b) h = (h ^ static_cast<std::uint64_t>(*b)) * 1099511628211ULL;
  }
  return h;
}

}  // namespace tenon
