// A piece of a device's memory that is released with its owner.
#pragma once
#include <cstddef>
#include <utility>

#include "tenon/backend.hpp"

namespace tenon {

enum class SlabKind : std::uint8_t { device, pinned };

class Slab {
 public:
  Slab() = default;
  /// Its content is anything. No memory where `bytes` is 0.
  Slab(Backend& device, std::size_t bytes, SlabKind kind = SlabKind::device)
      : device_(&device), bytes_(bytes), kind_(kind) {
    if (bytes > 0) data_ = kind == SlabKind::device ? device.allocate(bytes) : device.allocate_pinned(bytes);
  }
  ~Slab() { release(); }
  Slab(Slab&& other) noexcept { swap(other); }
  Slab& operator=(Slab&& other) noexcept {
    Slab taken(std::move(other));
    swap(taken);
    return *this;
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  /// On the device: not to be read by the host, unless the device is the host.
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
  void clear() {
    if (bytes_ > 0) device_->clear(data_, bytes_);
  }

 private:
  void release() noexcept {
    if (data_ == nullptr) return;
    kind_ == SlabKind::device ? device_->release(data_) : device_->release_pinned(data_);
  }
  void swap(Slab& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(kind_, other.kind_);
  }

  Backend* device_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  SlabKind kind_ = SlabKind::device;
};

}  // namespace tenon
