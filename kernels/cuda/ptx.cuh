// The words of PTX that kernels use, one instruction each. Tensor core products and ldmatrix are words of a whole warp:
// all 32 lanes call them together. Fragments, from the PTX ISA (9.7.14), with g = lane / 4 and t = lane % 4:
//
//   m16n8k8, tf32     a[0] = A(g, t)        a[1] = A(g + 8, t)        a[2] = A(g, t + 4)     a[3] = A(g + 8, t + 4)
//                     b[0] = B(t, g)        b[1] = B(t + 4, g)
//   m16n8k16, 16 bits a[0] = A(g, 2t..)     a[1] = A(g + 8, 2t..)     a[2] = A(g, 2t + 8..)  a[3] = A(g + 8, 2t + 8..)
//                     b[0] = B(2t.., g)     b[1] = B(2t + 8.., g)     x.. are x and x + 1, the former in the lower half
//   sums of both      d[0] = D(g, 2t)       d[1] = D(g, 2t + 1)       d[2] = D(g + 8, 2t)    d[3] = D(g + 8, 2t + 1)
//
// A is 16 rows by k, B is k by 8 columns, D is 16 by 8. Products are exact; how their sums are rounded is the
// hardware's affair.
#pragma once
#include "kernels/cuda/device.cuh"

#ifdef TENON_CUDA_EMULATION
#include "tests/cuda_emulation/ptx.hpp"
#else
namespace tenon::cuda {

/// D += A B. Of tf32 operands the hardware looks at the upper 19 bits only: to_tf32 rounds, else they are cut off.
__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16_f16(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

/// Loads matrices of 8 by 8 elements of 16 bits. Lane 8 i + j says where row j of matrix i begins: 16 bytes, aligned to
/// 16. r[i] = M_i(g, 2t..), which is an operand A as it lies in rows, and for elements of 32 bits, of which a row has
/// four, M_i(g, t).
__device__ __forceinline__ void ldmatrix_x4(unsigned r[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared))
               : "memory");
}
/// The addresses of lanes 16 to 31 do not matter.
__device__ __forceinline__ void ldmatrix_x2(unsigned r[2], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(shared))
               : "memory");
}
/// The transposed matrices: r[i] = M_i(2t.., g), which is an operand B whose rows are rows in memory.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned r[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned r[2], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(shared))
               : "memory");
}

/// Starts to copy 16 bytes, aligned to 16 on both sides; zeros if not valid, and then `global` is not read.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
/// Likewise 4 bytes, aligned to 4.
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 4 : 0)
               : "memory");
}
/// The copies that the thread started since the last commit become a group.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most n groups of this thread are under way. Other threads see the copies after a barrier behind that.
template <int n>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

/// Four neighbours in shared memory, aligned to 16 bytes.
__device__ __forceinline__ float4 load_4(const float* shared) { return *reinterpret_cast<const float4*>(shared); }
__device__ __forceinline__ void store_4(float* shared, float4 v) { *reinterpret_cast<float4*>(shared) = v; }
__device__ __forceinline__ uint4 load_4(const unsigned* shared) { return *reinterpret_cast<const uint4*>(shared); }
__device__ __forceinline__ void store_4(unsigned* shared, uint4 v) { *reinterpret_cast<uint4*>(shared) = v; }
/// The same in one instruction, whatever the compiler makes of the assignments of a vector; and two, aligned to 8.
__device__ __forceinline__ void store_words(unsigned* shared, uint4 v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(shared)), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}
__device__ __forceinline__ void store_words(unsigned* shared, uint2 v) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(shared_address(shared)), "r"(v.x), "r"(v.y) : "memory");
}

/// Two of them, aligned to 8, and one: where shared memory is no array of elements.
__device__ __forceinline__ float2 load_2(const float* shared) { return *reinterpret_cast<const float2*>(shared); }
__device__ __forceinline__ float load_1(const float* shared) { return *shared; }
__device__ __forceinline__ void store_1(float* shared, float v) { *shared = v; }

/// To the nearest tf32, which has 10 bits of fraction; ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float v) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}
/// Two numbers, each to the nearest, ties to even; `low` goes to the lower half.
__device__ __forceinline__ unsigned pack_bf16x2(float low, float high) {
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ unsigned pack_f16x2(float low, float high) {
  unsigned r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

}  // namespace tenon::cuda
#endif
