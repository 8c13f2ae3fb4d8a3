// CUDA's qualifiers as C++ sees them. __shared__ and __constant__ are missing on purpose: shared memory comes from
// shared_storage(), so that it can be watched, and nothing uses constant memory.
#pragma once

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
