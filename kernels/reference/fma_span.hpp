// The inner loops of every contraction. Each j is an output of its own, so the order of a sum does not depend on how
// wide the machine computes.
#pragma once
#include <cstdint>

namespace tenon::reference {

/// acc[j] = fma(a, b[j], acc[j]) for j in [0, n).
void fma_span(float* acc, float a, const float* b, std::int64_t n);
void fma_span(double* acc, double a, const double* b, std::int64_t n);

/// fma_span(acc, a[t], b + t * pitch, n) for t in [0, terms).
void fma_spans(float* acc, const float* a, const float* b, std::int64_t pitch, std::int64_t terms, std::int64_t n);
void fma_spans(double* acc, const double* a, const double* b, std::int64_t pitch, std::int64_t terms, std::int64_t n);

}  // namespace tenon::reference
