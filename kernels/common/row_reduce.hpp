// The canonical sum over a row (kernels/common/order.hpp: chunks of reduce_chunk, 16 lanes, folds by halves, pair
// tree), in plain loops: what the vector kernels must reproduce bit for bit.
#pragma once
#include "kernels/common/inline.hpp"
#include "kernels/common/order.hpp"

namespace tenon::order {
namespace {

/// step(lane, i) gives the lane's chain after element i; chains begin at 0.
template <class T, class Step>
T row_chain(std::int64_t n, const Step& step) {
  T stack[64] = {};  // the pair tree of up to 2^63 chunks
  int height = 0;
  const auto join = [&](int below, int top) { stack[below] += stack[top]; };
  for (std::int64_t chunk = 0; chunk < chunks(n, reduce_chunk); ++chunk) {
    const std::int64_t begin = chunk * reduce_chunk;
    const std::int64_t end = begin + reduce_chunk < n ? begin + reduce_chunk : n;
    T lane[lanes] = {};
    for (std::int64_t i = begin; i < end; ++i) lane[i % lanes] = step(lane[i % lanes], i);
    for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
      for (std::int64_t j = 0; j < half; ++j) lane[j] += lane[j + half];
    }
    stack[height] = lane[0];
    height = tree_push(chunk, height, join);
  }
  tree_finish(height, join);
  return stack[0];
}

/// The sum of term(i).
template <class T, class Term>
T row_sum(std::int64_t n, const Term& term) {
  return row_chain<T>(n, [&](T lane, std::int64_t i) { return lane + term(i); });
}

}  // namespace
}  // namespace tenon::order
