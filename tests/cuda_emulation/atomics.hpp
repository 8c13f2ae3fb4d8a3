// Atomic operations, on shared and on global memory. Blocks of one launch follow each other, but several OS threads may
// run kernels on the same memory, so that these are atomic indeed.
#pragma once
#include <algorithm>
#include <bit>
#include <type_traits>

#include "tests/cuda_emulation/race.hpp"

namespace tenon::cuda::emulation {

/// The old value; the new one is change(old).
template <class T, class Change>
T atomic_change(T* at, Site where, const Change& change) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  if (running != nullptr && running_block->owns(at, sizeof(T)))
    touch(Access::atomic, *running, at, sizeof(T), -1, where);
  auto* bits = reinterpret_cast<Bits __attribute__((may_alias))*>(at);
  Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(bits, &old, std::bit_cast<Bits>(static_cast<T>(change(std::bit_cast<T>(old)))),
                                      false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(old);
}

template <class T>
concept Word = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;
template <class T>
concept Number = Word<T> || std::is_same_v<T, float>;

/// Integers wrap, as they do on the device.
template <class T>
T wrapped_sum(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
  else
    return a + b;
}

}  // namespace tenon::cuda::emulation

#define TENON_ATOMIC(name, Kind, expression)                                                    \
  template <tenon::cuda::emulation::Kind T>                                                     \
  T name(T* at, std::type_identity_t<T> value,                                                  \
         tenon::cuda::emulation::Site where = tenon::cuda::emulation::Site::current()) {        \
    return tenon::cuda::emulation::atomic_change(at, where, [&](T old) { return expression; }); \
  }

TENON_ATOMIC(atomicAdd, Number, (tenon::cuda::emulation::wrapped_sum(old, value)))
TENON_ATOMIC(atomicExch, Number, (static_cast<void>(old), value))
TENON_ATOMIC(atomicOr, Word, old | value)
TENON_ATOMIC(atomicAnd, Word, old& value)
TENON_ATOMIC(atomicMax, Word, std::max(old, value))
TENON_ATOMIC(atomicMin, Word, std::min(old, value))
#undef TENON_ATOMIC

template <tenon::cuda::emulation::Word T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value,
            tenon::cuda::emulation::Site where = tenon::cuda::emulation::Site::current()) {
  return tenon::cuda::emulation::atomic_change(at, where, [&](T old) { return old == expected ? value : old; });
}
