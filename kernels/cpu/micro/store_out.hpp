// The way of finished sums from a block to memory. What is larger than the caches goes past them, so that no line of it is
// read before it is written.
#pragma once
#include <type_traits>

#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Whether rows at `to` may: such stores want whole cache lines. The binding code has looked at the rows' length.
TENON_INLINE bool may_pass(bool past_caches, const float* to) {
  return past_caches && reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
}
template <class Lanes>
TENON_INLINE void store_out(float* to, Vf v, [[maybe_unused]] bool past_caches, Lanes lanes) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<Lanes, Whole>)
    if (past_caches) return _mm512_stream_ps(to, (__m512)v);
#endif
  lanes.store(to, v);
}
/// Before other threads may read what went past the caches.
TENON_INLINE void settle([[maybe_unused]] bool past_caches) {
#if defined(__AVX512F__)
  if (past_caches) _mm_sfence();
#endif
}

/// Some pixels of `columns` sums each, `from_step` and `to_step` apart, through bias (or null) and f.
template <class F>
TENON_INLINE void store_pixels(const float* from, std::int64_t from_step, std::int64_t pixels, std::int64_t columns,
                               float* to, std::int64_t to_step, const float* bias, bool past_caches, const F& f) {
  for (std::int64_t p = 0; p < pixels; ++p)
    for_each_lanes(columns, [&](std::int64_t j, auto lanes) {
      Vf v = lanes.load(from + p * from_step + j);
      if (bias != nullptr) v += lanes.load(bias + j);
      store_out(to + p * to_step + j, f.value(v), past_caches, lanes);
    });
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
