// Loops over contiguous elements. A thread takes four neighbours at a time, in one access of 16 bytes (values start on
// a cache line); only behind the last whole four it takes them one by one.
#pragma once
#include "kernels/cuda/device.cuh"

namespace tenon::cuda {

template <class T>
const T* input(const Call& call, int i) {
  return static_cast<const T*>(call.in[i]);
}
template <class T>
T* output(const Call& call, int i) {
  return static_cast<T*>(call.out[i]);
}

/// Neighbours in memory, moved in one access.
template <class T, int count>
struct alignas(sizeof(T) * count) Lanes {
  T v[count];
};
using Four = Lanes<float, 4>;

template <int count, class T>
__device__ inline Lanes<T, count> load(const T* p) {
  return *reinterpret_cast<const Lanes<T, count>*>(p);
}
template <class T, int count>
__device__ inline void store(T* p, const Lanes<T, count>& x) {
  *reinterpret_cast<Lanes<T, count>*>(p) = x;
}

/// Four elements from p on, of which only `there` exist; zeros in place of the others.
template <class T>
__device__ inline Lanes<T, 4> load_four(const T* p, std::int64_t there) {
  if (there >= 4) return load<4>(p);
  Lanes<T, 4> x{};
#pragma unroll
  for (int l = 0; l < 3; ++l)
    if (l < there) x.v[l] = p[l];
  return x;
}
template <class T>
__device__ inline void store_four(T* p, const Lanes<T, 4>& x, std::int64_t there) {
  if (there >= 4) return store(p, x);
#pragma unroll
  for (int l = 0; l < 3; ++l)
    if (l < there) p[l] = x.v[l];
}

/// body(first, elements from there on) for every four of n elements; each thread takes its share.
template <class Body>
__device__ inline void for_each_four(std::int64_t n, const Body& body) {
  for (std::int64_t i = 4 * global_thread(); i < n; i += 4 * global_threads()) body(i, n - i);
}
inline dim3 blocks_for_fours(std::int64_t n) { return blocks_for((n + 3) / 4); }

/// The operands of an elementwise kernel.
template <int ins>
struct Operands {
  const float* p[ins];
};

namespace {

template <int ins, class F>
__global__ void map_elements(Operands<ins> in, float* y, std::int64_t n, F f) {
  for_each_four(n, [&](std::int64_t i, std::int64_t there) {
    Four x[ins], result;
#pragma unroll
    for (int k = 0; k < ins; ++k) x[k] = load_four(in.p[k] + i, there);
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      if constexpr (ins == 1)
        result.v[l] = f(x[0].v[l]);
      else if constexpr (ins == 2)
        result.v[l] = f(x[0].v[l], x[1].v[l]);
      else
        result.v[l] = f(x[0].v[l], x[1].v[l], x[2].v[l]);
    }
    store_four(y + i, result, there);
  });
}

/// Call::out[0] = f(Call::in[0], ...), element by element.
template <int ins, class F>
void map(const Call& call, std::int64_t n, F f) {
  if (n == 0) return;
  Operands<ins> in;
  for (int k = 0; k < ins; ++k) in.p[k] = input<float>(call, k);
  launch(call, map_elements<ins, F>, blocks_for_fours(n), dim3(block_threads), 0, in, output<float>(call, 0), n, f);
}

}  // namespace
}  // namespace tenon::cuda
