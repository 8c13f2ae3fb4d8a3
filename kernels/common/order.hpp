// Canonical order: which sum is formed in which order. The CPU rows, the CUDA kernels and the reference include this
// one file, so that `fp32` gives the same bits on all of them.
//
//   contraction over k (matmul, conv2d forward)   each output is one FMA chain acc = fma(a_k, b_k, acc) from 0, k
//       ascending, inside a chunk of k_chunk terms; chunk sums join by the pair tree below. For conv2d k is the flat
//       index over (kh, kw, c of the group); taps in the padding are left out, and chunks count them all the same.
//   conv2d input gradient     one chain per input element over the output positions that reach it, in memory order of
//       the output's gradient: (oh, ow, k) ascending. No chunks: there are as many chains as input elements.
//   conv2d filter and bias gradient    one chain per group of sample_group samples over (n, oh, ow) ascending; group
//       sums join by the pair tree. Bias chains add. A bias gradient of rank >= 3 counts its first axis as samples.
//   matmul gradients          contractions like the forward one (the samples are k); bias: adds, chunks of k_chunk rows.
//   reduction with neighbours (inner > 1)    one chain of adds per output inside chunks of k_chunk; pair tree.
//   reduction of a row (inner == 1; softmax sums, norms)   chunks of reduce_chunk; in a chunk element i goes to lane
//       i % lanes, lanes are chains from 0, and fold by halves: lane j += lane j + 8, then 4, 2, 1. Pair tree over chunks.
//   pair tree    level by level (0,1) (2,3) ...; an odd last one moves up alone.
//
// Dead terms (relu gate, argmax, dropout, padding) are left out. Adding them as +-0 gives the same bits for finite
// operands, so a kernel may do that where it is faster, up to the sign of a zero sum.
// Counts depend on shapes only: never on threads, on the instruction set, or on a value.
#pragma once
#include <cstdint>

namespace tenon::order {

inline constexpr std::int64_t k_chunk = 1024;
inline constexpr std::int64_t sample_group = 8;
inline constexpr std::int64_t lanes = 16;
inline constexpr std::int64_t reduce_chunk = 4096;  // a multiple of lanes

// Internal linkage on purpose: this header is compiled once per instruction set.
namespace {

constexpr std::int64_t chunks(std::int64_t terms, std::int64_t chunk) {
  return terms <= 0 ? 1 : (terms + chunk - 1) / chunk;
}

/// Levels that the pair tree keeps at once over `count` chunks: how many partial results to make room for.
constexpr int tree_depth(std::int64_t count) {
  int depth = 1;
  while (count > 1) {
    count = (count + 1) / 2;
    ++depth;
  }
  return depth;
}

/// The pair tree as a stack, for one pass over the chunks in order: after chunk i is pushed on top, the two topmost
/// entries join as often as 2 divides i + 1; at the end the rest joins from the top down. `join(below, top)` adds the
/// entry `top` into the entry `below`; entries are numbered from the bottom. Same sums as level by level.
template <class Join>
constexpr int tree_push(std::int64_t chunk, int height, Join&& join) {
  ++height;
  for (std::int64_t i = chunk + 1; i % 2 == 0; i /= 2) {
    join(height - 2, height - 1);
    --height;
  }
  return height;
}
template <class Join>
constexpr void tree_finish(int height, Join&& join) {
  for (; height > 1; --height) join(height - 2, height - 1);
}

}  // namespace
}  // namespace tenon::order
