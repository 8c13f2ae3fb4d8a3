// What the kernels of this folder know of CUDA. nvcc compiles them for the GPU; tests/cuda_emulation compiles the same files
// as C++ and runs them thread by thread, with a cuda_runtime.h of its own. So that both work alike, a kernel
//
//   - is a __global__ function with plain parameters, started by launch() and never by <<<>>>;
//   - takes its shared memory as one struct, from shared_storage<Smem>(), with arrays of the type Shared<T, n>, whose elements
//     the emulation watches: two threads that touch one of them between two barriers, one of them writing, are an error;
//   - uses PTX through the words of ptx.cuh only;
//   - has no #if in its body.
//
// `fp32` promises the CPU's bits: every kernel keeps the order of kernels/common/order.hpp, contraction is off (--fmad=false)
// and math::Scalar says where an fma is.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/common/inline.hpp"
#include "tenon/kernel.hpp"

namespace tenon::cuda {

inline constexpr unsigned warp = 32, whole_warp = 0xffffffffu;
inline constexpr std::size_t usual_shared_bytes = 48 * 1024;  // more has to be asked for

}  // namespace tenon::cuda

#ifdef TENON_CUDA_EMULATION
#include "tests/cuda_emulation/launch.hpp"
#else
namespace tenon::cuda {

/// An array in shared memory.
template <class T, int n>
class Shared {
 public:
  __device__ T& operator[](std::int64_t i) { return data_[i]; }
  /// For the words of ptx.cuh, which move more than one element.
  __device__ T* at(std::int64_t i) { return data_ + i; }

 private:
  alignas(16) T data_[n];
};

/// The block's shared memory, of which launch() was told sizeof(Smem); its content is anything.
template <class Smem>
__device__ inline Smem& shared_storage() {
  extern __shared__ __align__(128) unsigned char bytes[];
  return *reinterpret_cast<Smem*>(bytes);
}

/// Starts a kernel on the call's stream. An error stays for the device's next synchronisation, because a step has no result.
template <class... Parameters, class... Arguments>
void launch(const Call& call, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Arguments... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  if (shared_bytes > usual_shared_bytes)
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  [&](Parameters... parameters) {
    void* addresses[] = {const_cast<void*>(static_cast<const volatile void*>(&parameters))..., nullptr};
    cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, addresses, shared_bytes,
                     static_cast<cudaStream_t>(call.stream));
  }(static_cast<Parameters>(arguments)...);
}

}  // namespace tenon::cuda
#endif

namespace tenon::cuda {

/// This thread's number in the grid, and how many threads there are: loops over elements go from the one in steps of the other.
__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t global_threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }
/// body(i) for i in [0, n); each thread takes its share.
template <class Body>
__device__ inline void for_each_index(std::int64_t n, const Body& body) {
  for (std::int64_t i = global_thread(); i < n; i += global_threads()) body(i);
}

/// Threads of a block, for kernels that need no particular number.
inline constexpr unsigned block_threads = 256;
inline constexpr std::int64_t most_blocks = 132 * 16;  // a loop over elements has no use for more
/// Blocks of `threads` for so many items, one a thread, at least one and at most most_blocks.
inline dim3 blocks_for(std::int64_t items, unsigned threads = block_threads) {
  const std::int64_t wanted = (items + threads - 1) / threads;
  return dim3(static_cast<unsigned>(wanted < 1 ? 1 : wanted > most_blocks ? most_blocks : wanted));
}

}  // namespace tenon::cuda
