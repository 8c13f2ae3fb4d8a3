// kernels/cuda/ptx.cuh on the CPU. The last lane of a warp that comes to a product or an ldmatrix computes it for all;
// a cp.async is put off as long as PTX allows, until the wait that covers it, and its destination is NaN before.
#pragma once
#include "tests/cuda_emulation/state.hpp"

namespace tenon::cuda {

namespace emulation {

enum class Operand : std::uint8_t { tf32, bf16, f16 };
void multiply(Operand, const char* word, float* d, const unsigned* a, const unsigned* b, const Site&);
void load_matrices(const char* word, int count, bool transposed, unsigned* r, const void* shared, const Site&);
void copy_async(void* shared, const void* global, bool valid, std::size_t bytes, const Site&);
void commit_copies();
void wait_for_copies(int groups, const Site&);
/// 16 bytes of elements of 4.
void load_four(void* to, const void* shared, const Site&);
void store_four(void* shared, const void* from, const Site&);
/// 4 or 8 bytes.
void load_some(void* to, const void* shared, std::size_t bytes, const Site&);
void store_some(void* shared, const void* from, std::size_t bytes, const Site&);
/// One number of 16 bits, as fp32.
float widened_bf16(unsigned bits);
float widened_f16(unsigned bits);

}  // namespace emulation

#define TENON_SITE ::tenon::cuda::emulation::Site where = ::tenon::cuda::emulation::Site::current()

/// The sum over k is exact but for the last rounding: products in double, added to d in double. Hardware rounds more
/// often.
inline void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2], TENON_SITE) {
  emulation::multiply(emulation::Operand::tf32, "mma_m16n8k8_tf32", d, a, b, where);
}
inline void mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2], TENON_SITE) {
  emulation::multiply(emulation::Operand::bf16, "mma_m16n8k16_bf16", d, a, b, where);
}
inline void mma_m16n8k16_f16(float d[4], const unsigned a[4], const unsigned b[2], TENON_SITE) {
  emulation::multiply(emulation::Operand::f16, "mma_m16n8k16_f16", d, a, b, where);
}

inline void ldmatrix_x4(unsigned r[4], const void* shared, TENON_SITE) {
  emulation::load_matrices("ldmatrix_x4", 4, false, r, shared, where);
}
inline void ldmatrix_x2(unsigned r[2], const void* shared, TENON_SITE) {
  emulation::load_matrices("ldmatrix_x2", 2, false, r, shared, where);
}
inline void ldmatrix_x4_trans(unsigned r[4], const void* shared, TENON_SITE) {
  emulation::load_matrices("ldmatrix_x4_trans", 4, true, r, shared, where);
}
inline void ldmatrix_x2_trans(unsigned r[2], const void* shared, TENON_SITE) {
  emulation::load_matrices("ldmatrix_x2_trans", 2, true, r, shared, where);
}

inline void cp_async_16(void* shared, const void* global, bool valid, TENON_SITE) {
  emulation::copy_async(shared, global, valid, 16, where);
}
inline void cp_async_4(void* shared, const void* global, bool valid, TENON_SITE) {
  emulation::copy_async(shared, global, valid, 4, where);
}
inline void cp_async_commit() { emulation::commit_copies(); }
template <int n>
void cp_async_wait(TENON_SITE) {
  static_assert(n >= 0);
  emulation::wait_for_copies(n, where);
}

inline float4 load_4(const float* shared, TENON_SITE) {
  float4 v;
  emulation::load_four(&v, shared, where);
  return v;
}
inline uint4 load_4(const unsigned* shared, TENON_SITE) {
  uint4 v;
  emulation::load_four(&v, shared, where);
  return v;
}
inline void store_4(float* shared, float4 v, TENON_SITE) { emulation::store_four(shared, &v, where); }
inline void store_4(unsigned* shared, uint4 v, TENON_SITE) { emulation::store_four(shared, &v, where); }
inline void store_words(unsigned* shared, uint4 v, TENON_SITE) { emulation::store_four(shared, &v, where); }
inline void store_words(unsigned* shared, uint2 v, TENON_SITE) { emulation::store_some(shared, &v, sizeof v, where); }
inline float2 load_2(const float* shared, TENON_SITE) {
  float2 v;
  emulation::load_some(&v, shared, sizeof v, where);
  return v;
}
inline float load_1(const float* shared, TENON_SITE) {
  float v;
  emulation::load_some(&v, shared, sizeof v, where);
  return v;
}
inline void store_1(float* shared, float v, TENON_SITE) { emulation::store_some(shared, &v, sizeof v, where); }

unsigned to_tf32(float);
unsigned pack_bf16x2(float low, float high);
unsigned pack_f16x2(float low, float high);

#undef TENON_SITE

}  // namespace tenon::cuda
