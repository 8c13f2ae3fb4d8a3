// The canonical sum over a row, for any vector width: 16 lanes are 16 / width vectors, and the fold, the chunks and the
// pair tree are those of kernels/common/order.hpp, so that the bits do not depend on the width.
// One thread sums a row; its terms come from a functor, so that a sum may be fused with the loop that makes them.
#pragma once
#include <type_traits>

#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// One chunk: elements [begin, begin + n).
template <class Step>
TENON_INLINE float row_chain_chunk(std::int64_t begin, std::int64_t n, const Step& step) {
  constexpr int vectors = static_cast<int>(order::lanes) / width;
  Vf acc[vectors] = {};
  std::int64_t i = 0;
  for (; i + order::lanes <= n; i += order::lanes) {
    for (int v = 0; v < vectors; ++v) acc[v] = step(acc[v], begin + i + v * width, Whole{});
  }
  for (int v = 0; v < vectors && i < n; ++v, i += width) {
    if (n - i >= width) {
      acc[v] = step(acc[v], begin + i, Whole{});
    } else {
      // A lane without an element keeps its chain: even + 0 could change the sign of a zero.
      const Vi there = Simd::lane_index() < Simd::set_int(static_cast<std::int32_t>(n - i));
      acc[v] = Simd::select(there, step(acc[v], begin + i, Part{n - i}), acc[v]);
    }
  }
  float lane[order::lanes];
  for (int v = 0; v < vectors; ++v) Simd::store(lane + v * width, acc[v]);
  for (std::int64_t half = order::lanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) lane[j] += lane[j + half];
  }
  return lane[0];
}

/// step(acc, i, lanes) gives the chains `acc` after the elements at i; `lanes` (Whole or Part) loads and stores them.
/// Chains begin at 0. A chain of FMAs: `return Simd::fma(lanes.load(a + i), lanes.load(b + i), acc);`
template <class Step>
TENON_INLINE float row_chain(std::int64_t n, const Step& step) {
  if (n <= order::reduce_chunk) return row_chain_chunk(0, n, step);
  float stack[64];  // the pair tree of up to 2^63 chunks
  int height = 0;
  const auto join = [&](int below, int top) { stack[below] += stack[top]; };
  for (std::int64_t chunk = 0; chunk < order::chunks(n, order::reduce_chunk); ++chunk) {
    const std::int64_t begin = chunk * order::reduce_chunk;
    stack[height] = row_chain_chunk(begin, smaller(order::reduce_chunk, n - begin), step);
    height = order::tree_push(chunk, height, join);
  }
  order::tree_finish(height, join);
  return stack[0];
}

/// The sum of term(i, lanes).
template <class Term>
TENON_INLINE float row_sum(std::int64_t n, const Term& term) {
  return row_chain(
      n, [&](Vf acc, std::int64_t i, auto lanes) __attribute__((always_inline)) { return acc + term(i, lanes); });
}

/// The largest element, NaN where there is one, -infinity for an empty row.
TENON_INLINE float row_max(std::int64_t n, const float* x) {
  Vf acc = Simd::set(-__builtin_inff());
  for_each_lanes(
      n, [&](std::int64_t i, auto lanes) __attribute__((always_inline)) {
        const Vf v = lanes.load(x + i);
        Vi wins = (v > acc) | (v != v);
        if constexpr (std::is_same_v<decltype(lanes), Part>)
          wins &= Simd::lane_index() < Simd::set_int(static_cast<std::int32_t>(lanes.count));
        acc = Simd::select(wins, v, acc);
      });
  float lane[width];
  Simd::store(lane, acc);
  float m = lane[0];
  for (int l = 1; l < width; ++l) m = lane[l] > m || lane[l] != lane[l] ? lane[l] : m;
  return m;
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
