// Three words for code that is compiled more than once: per instruction set, and by nvcc for the host and the device.
// TENON_INLINE functions (free or static) and TENON_MEMBER functions leave no symbol behind, so that the linker cannot
// mix up their copies.
#pragma once

#ifdef __CUDACC__
#define TENON_HD __host__ __device__
#define TENON_INLINE static TENON_HD __forceinline__
#define TENON_MEMBER TENON_HD __forceinline__
#else
#define TENON_HD
#define TENON_INLINE static inline __attribute__((always_inline))
#define TENON_MEMBER inline __attribute__((always_inline))
#endif
