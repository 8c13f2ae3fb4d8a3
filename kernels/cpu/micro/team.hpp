// What most loops need around their body: the operands, how many threads the work is worth, and one body for whole
// vectors and for the masked rest. Threads only ever own outputs (or whole chunks), so that their count changes no bit.
#pragma once
#include "kernels/cpu/micro/micro.hpp"
#include "kernels/cpu/micro/simd.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

template <class Geometry>
TENON_INLINE const Geometry& geometry(const Call& call) {
  return *static_cast<const Geometry*>(call.state);
}
template <class T>
TENON_INLINE const T* input(const Call& call, int i) {
  return static_cast<const T*>(call.in[i]);
}
template <class T>
TENON_INLINE T* output(const Call& call, int i) {
  return static_cast<T*>(call.out[i]);
}

TENON_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
TENON_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
TENON_INLINE std::int64_t blocks_of(std::int64_t n, std::int64_t block) { return (n + block - 1) / block; }

/// Threads for `elements` elements of work: waking one more costs about as much as a few thousand elements.
TENON_INLINE std::int32_t threads_for(const Call& call, std::int64_t elements) {
  const std::int64_t worth = elements / 16384;
  return worth < 2 ? 1 : static_cast<std::int32_t>(smaller(call.threads, worth));
}

/// body(i) for i in [0, items), each thread a contiguous range.
template <class Body>
TENON_INLINE void parallel_for(std::int32_t threads, std::int64_t items, const Body& body) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (std::int64_t i = 0; i < items; ++i) body(i);
}
/// body(begin, end) once a thread, for bodies that carry a position along.
template <class Body>
TENON_INLINE void parallel_ranges(std::int32_t threads, std::int64_t items, const Body& body) {
  const std::int64_t each = blocks_of(items, threads);
  parallel_for(threads, threads, [&](std::int64_t t) {
    const std::int64_t begin = smaller(t * each, items);
    body(begin, smaller(begin + each, items));
  });
}

struct Range {
  std::int64_t begin, end;
  TENON_MEMBER std::int64_t size() const { return end - begin; }
};
/// Part `i` of `parts` of [0, items).
TENON_INLINE Range part(std::int64_t items, std::int64_t i, std::int64_t parts) {
  return {items * i / parts, items * (i + 1) / parts};
}

/// The compiler forgets how `value` came about, and keeps it in a register of its own.
template <class T>
TENON_INLINE void keep_register(T& value) {
  asm("" : "+r"(value));
}

/// All lanes of a vector in memory, or the first `count` of them.
struct Whole {
  TENON_INLINE Vf load(const float* p) { return Simd::load(p); }
  TENON_INLINE void store(float* p, Vf v) { Simd::store(p, v); }
};
struct Part {
  std::int64_t count;
  inline __attribute__((always_inline)) Vf load(const float* p) const { return Simd::load_n(p, count); }
  inline __attribute__((always_inline)) void store(float* p, Vf v) const { Simd::store_n(p, v, count); }
};
/// body(offset, lanes) over [0, n), where `lanes` is Whole or Part.
template <class Body>
TENON_INLINE void for_each_lanes(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

/// to[0, n) += from[0, n).
TENON_INLINE void add_floats(float* to, const float* from, std::int64_t n) {
  for_each_lanes(n, [&](std::int64_t i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
}
/// The low bytes of the first `count` lanes.
TENON_INLINE void store_bytes(std::uint8_t* to, Vi lanes, std::int64_t count) {
  using Bytes = std::uint8_t __attribute__((vector_size(width)));
  const Bytes bytes = __builtin_convertvector(lanes, Bytes);
  if (count == width) std::memcpy(to, &bytes, sizeof bytes);
  else std::memcpy(to, &bytes, static_cast<std::size_t>(count));
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
