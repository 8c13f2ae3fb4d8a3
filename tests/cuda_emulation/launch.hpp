// The part of kernels/cuda/device.cuh that the emulation provides: shared memory that is watched, and launch().
#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <tuple>
#include <type_traits>

#include "tenon/kernel.hpp"
#include "tests/cuda_emulation/race.hpp"

namespace tenon::cuda {

namespace emulation {

struct Launch {
  const void* kernel;
  dim3 grid, block;
  std::size_t shared_bytes;
  std::function<void()> body;  // a thread
};
/// Checks, and runs or captures. Throws EmulationError if errors are thrown (emulation.hpp).
void start(const Launch&, cudaStream_t);

/// An index that knows where it stands in the source: operator[] takes no default arguments.
struct Index {
  std::int64_t value;
  Site where;
  template <class I>
  requires std::is_integral_v<I> Index(I i, Site where_ = Site::current())
      : value(static_cast<std::int64_t>(i)), where(where_) {}
};

[[noreturn]] void report_index(std::int64_t index, std::int64_t size, Site);

/// An element of an array in shared memory, as a reference to it would be.
template <class T>
class Element {
 public:
  Element(T* at, const Index& index) : at_(at), index_(index) {}
  Element(const Element&) = default;

  operator T() const {
    touch(Access::read, *running, at_, sizeof(T), index_.value, index_.where);
    return *at_;
  }
  Element& operator=(T value) {
    touch(Access::write, *running, at_, sizeof(T), index_.value, index_.where);
    *at_ = value;
    return *this;
  }
  Element& operator=(const Element& other) { return *this = static_cast<T>(other); }
  Element& operator+=(T value) { return *this = static_cast<T>(static_cast<T>(*this) + value); }
  Element& operator-=(T value) { return *this = static_cast<T>(static_cast<T>(*this) - value); }
  Element& operator*=(T value) { return *this = static_cast<T>(static_cast<T>(*this) * value); }
  Element& operator|=(T value) { return *this = static_cast<T>(static_cast<T>(*this) | value); }
  Element& operator&=(T value) { return *this = static_cast<T>(static_cast<T>(*this) & value); }
  /// For atomics, which are watched; what else goes through the pointer is not.
  T* operator&() const { return at_; }

 private:
  T* at_;
  Index index_;
};

}  // namespace emulation

/// An array in shared memory.
template <class T, int n>
class Shared {
 public:
  emulation::Element<T> operator[](emulation::Index i) { return {checked(i), i}; }
  T operator[](emulation::Index i) const { return emulation::Element<T>(const_cast<Shared*>(this)->checked(i), i); }
  /// For the words of ptx.cuh, which move more than one element.
  T* at(std::int64_t i) { return data_ + i; }

 private:
  T* checked(const emulation::Index& i) {
    if (i.value < 0 || i.value >= n) emulation::report_index(i.value, n, i.where);
    return data_ + i.value;
  }

  alignas(16) T data_[n];
};

/// The block's shared memory, of which launch() was told sizeof(Smem); its content is anything.
template <class Smem>
Smem& shared_storage(emulation::Site where = emulation::Site::current()) {
  static_assert(std::is_trivially_copyable_v<Smem> && alignof(Smem) <= 128);
  const emulation::Block& block = *emulation::running_block;
  if (sizeof(Smem) > block.shared_bytes)
    emulation::fail("shared_storage at " + emulation::text(where) + " needs " + std::to_string(sizeof(Smem)) +
                    " bytes of shared memory, the launch gave " + std::to_string(block.shared_bytes));
  return *reinterpret_cast<Smem*>(block.shared);
}

/// Runs a kernel, as the one for the device starts it.
template <class... Parameters, class... Arguments>
void launch(const Call& call, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Arguments... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  static_assert((!std::is_reference_v<Parameters> && ...), "parameters of kernels are values");
  if (shared_bytes > emulation::default_shared)
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  std::tuple<std::remove_cv_t<Parameters>...> parameters(static_cast<Parameters>(arguments)...);
  emulation::start({reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
                    [kernel, parameters] { std::apply(kernel, parameters); }},
                   static_cast<cudaStream_t>(call.stream));
}

}  // namespace tenon::cuda
