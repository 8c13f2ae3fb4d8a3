// The inner loops of every contraction, compiled twice: for machines with the FMA instruction, and with std::fma, which
// gives the same bits everywhere and is slow without the instruction. The machine is asked once.
#include "kernels/reference/fma_span.hpp"

#include <cmath>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::reference {
namespace {

template <class T>
struct Loops {
  void (*span)(T*, T, const T*, std::int64_t);
  void (*spans)(T*, const T*, const T*, std::int64_t, std::int64_t, std::int64_t);
};

template <class T>
void span_portable(T* acc, T a, const T* b, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) acc[j] = std::fma(a, b[j], acc[j]);
}
template <class T>
void spans_portable(T* acc, const T* a, const T* b, std::int64_t pitch, std::int64_t terms, std::int64_t n) {
  for (std::int64_t t = 0; t < terms; ++t) span_portable(acc, a[t], b + t * pitch, n);
}

#if defined(__x86_64__)
#define TENON_WITH_FMA __attribute__((target("avx2,fma")))

TENON_WITH_FMA void span_fma(float* acc, float a, const float* b, std::int64_t n) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) acc[j] = __builtin_fmaf(a, b[j], acc[j]);
}
TENON_WITH_FMA void span_fma(double* acc, double a, const double* b, std::int64_t n) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) acc[j] = __builtin_fma(a, b[j], acc[j]);
}

/// Blocks of 32 outputs stay in registers over all terms.
TENON_WITH_FMA void spans_fma(float* acc, const float* a, const float* b, std::int64_t pitch, std::int64_t terms,
                              std::int64_t n) {
  std::int64_t j = 0;
  for (; j + 32 <= n; j += 32) {
    __m256 s[4];
    for (int i = 0; i < 4; ++i) s[i] = _mm256_loadu_ps(acc + j + 8 * i);
    for (std::int64_t t = 0; t < terms; ++t) {
      const __m256 v = _mm256_set1_ps(a[t]);
      for (int i = 0; i < 4; ++i) s[i] = _mm256_fmadd_ps(v, _mm256_loadu_ps(b + t * pitch + j + 8 * i), s[i]);
    }
    for (int i = 0; i < 4; ++i) _mm256_storeu_ps(acc + j + 8 * i, s[i]);
  }
  if (j == n) return;
  for (std::int64_t t = 0; t < terms; ++t) span_fma(acc + j, a[t], b + t * pitch + j, n - j);
}
TENON_WITH_FMA void spans_fma(double* acc, const double* a, const double* b, std::int64_t pitch, std::int64_t terms,
                              std::int64_t n) {
  for (std::int64_t t = 0; t < terms; ++t) span_fma(acc, a[t], b + t * pitch, n);
}
#endif

template <class T>
Loops<T> pick() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {span_fma, spans_fma};
#endif
  return {span_portable<T>, spans_portable<T>};
}

const Loops<float> loops_f32 = pick<float>();
const Loops<double> loops_f64 = pick<double>();

}  // namespace

void fma_span(float* acc, float a, const float* b, std::int64_t n) { loops_f32.span(acc, a, b, n); }
void fma_span(double* acc, double a, const double* b, std::int64_t n) { loops_f64.span(acc, a, b, n); }

void fma_spans(float* acc, const float* a, const float* b, std::int64_t pitch, std::int64_t terms, std::int64_t n) {
  loops_f32.spans(acc, a, b, pitch, terms, n);
}
void fma_spans(double* acc, const double* a, const double* b, std::int64_t pitch, std::int64_t terms, std::int64_t n) {
  loops_f64.spans(acc, a, b, pitch, terms, n);
}

}  // namespace tenon::reference
