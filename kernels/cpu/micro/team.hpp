// What most loops need around their body: the operands, how many threads the work is worth, and one body for whole
// vectors and for the masked rest. Threads only ever own outputs (or whole chunks), so that their count changes no bit.
#pragma once
#include <omp.h>

#include "kernels/cpu/micro/micro.hpp"
#include "kernels/cpu/micro/shares.hpp"
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

/// Of an update, which a step may run on a part of its elements.
TENON_INLINE UpdateGeometry update_geometry(const Call& call) {
  UpdateGeometry g = geometry<UpdateGeometry>(call);
  if (call.elements > 0) g.n = call.elements;
  return g;
}

TENON_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
TENON_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
TENON_INLINE std::int64_t blocks_of(std::int64_t n, std::int64_t block) { return (n + block - 1) / block; }

/// Threads for `elements` elements of work: waking one more costs about as much as a few thousand elements.
TENON_INLINE std::int32_t threads_for(const Call& call, std::int64_t elements) {
  const std::int64_t worth = elements / 16384;
  return worth < 2 ? 1 : static_cast<std::int32_t>(smaller(call.threads, worth));
}

/// body(begin, end) for ranges that make up [0, items), for bodies that carry a position along.
template <class Body>
TENON_INLINE void parallel_ranges(std::int32_t threads, std::int64_t items, const Body& body) {
  constexpr std::int64_t pieces = 16;  // a thread
  Shares shares(threads, items, larger(1, threads == 1 ? items : blocks_of(items, pieces * threads)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (Range some{}; shares.take(omp_get_thread_num(), some);) body(some.begin, some.end);
}
/// body(i) for i in [0, items).
template <class Body>
TENON_INLINE void parallel_for(std::int32_t threads, std::int64_t items, const Body& body) {
  parallel_ranges(threads, items, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
  });
}

/// A number that is a type, for lambdas.
template <std::int64_t n>
struct Count {
  static constexpr std::int64_t value = n;
};

/// The compiler forgets how `value` came about, and keeps it in a register of its own.
template <class T>
TENON_INLINE void keep_register(T& value) {
  asm("" : "+r"(value));
}

/// A register tile: up to tile_height rows (or pixels, or taps) times a panel of two vectors. Accumulators, two vectors and
/// a broadcast fill the register file.
constexpr int panel = 2 * width;
constexpr int tile_height = registers == 32 ? 14 : 6;
/// Terms of a chain that a register tile takes at a time. With AVX-512, integer instructions take the ports of the
/// FMAs, so pointers had better move once in four; elsewhere there are ports enough, and steps that mix take registers.
inline constexpr int unrolled_terms = width == 16 ? 4 : 1;

/// Zero, vector by vector: `= {}` becomes a block of zeros in memory, which is then read.
template <int rows, int vectors>
TENON_INLINE void clear(Vf (&acc)[rows][vectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) acc[r][v] = Vf{};
}

/// body(row) for the rows of a geometry of (rows, cols).
template <class Geometry, class Body>
TENON_INLINE void for_each_row(const Call& call, const Geometry& g, const Body& body) {
  parallel_for(threads_for(call, g.rows * g.cols), g.rows, body);
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
  for_each_lanes(n,
                 [&](std::int64_t i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
}
/// A byte per lane.
using Vb = std::uint8_t __attribute__((vector_size(width)));
/// Bytes as numbers. By intrinsics where there are any: the compiler's own conversion goes lane by lane (and GCC 12
/// warns about its own header where an AVX-512 intrinsic has no mask).
TENON_INLINE Vi widen(Vb bytes) {
#if defined(__AVX512F__)
  return (Vi)_mm512_maskz_cvtepu8_epi32(0xFFFF, (__m128i)bytes);
#elif defined(__AVX2__)
  std::int64_t eight;
  std::memcpy(&eight, &bytes, sizeof eight);
  return (Vi)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight));
#elif defined(__aarch64__)
  std::uint32_t four;
  std::memcpy(&four, &bytes, sizeof four);
  return (Vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
#else
  return __builtin_convertvector(bytes, Vi);
#endif
}
/// The low byte of every lane.
TENON_INLINE Vb narrow(Vi lanes) {
#if defined(__AVX512F__)
  return (Vb)_mm512_maskz_cvtepi32_epi8(0xFFFF, (__m512i)lanes);
#elif defined(__AVX2__)
  const __m256i low = _mm256_shuffle_epi8((__m256i)lanes, _mm256_set1_epi32(0x0C080400));
  const std::int64_t eight =
      _mm_cvtsi128_si64(_mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
  Vb bytes;
  std::memcpy(&bytes, &eight, sizeof bytes);
  return bytes;
#elif defined(__aarch64__)
  const uint16x4_t words = vmovn_u32((uint32x4_t)lanes);
  const uint8x8_t twice = vmovn_u16(vcombine_u16(words, words));
  Vb bytes;
  std::memcpy(&bytes, &twice, sizeof bytes);
  return bytes;
#else
  return __builtin_convertvector(lanes, Vb);
#endif
}
/// The first `count` bytes, the rest 0; and the way back.
TENON_INLINE Vb load_bytes(const std::uint8_t* from, std::int64_t count) {
  Vb bytes{};
  if (count >= width)
    std::memcpy(&bytes, from, sizeof bytes);
  else
    std::memcpy(&bytes, from, static_cast<std::size_t>(count));
  return bytes;
}
TENON_INLINE void store_bytes(std::uint8_t* to, Vb bytes, std::int64_t count) {
  if (count >= width)
    std::memcpy(to, &bytes, sizeof bytes);
  else
    std::memcpy(to, &bytes, static_cast<std::size_t>(count));
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
