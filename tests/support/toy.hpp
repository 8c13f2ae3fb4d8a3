// Small models' options and made-up batches, the same on every machine.
#pragma once
#include <cstring>

#include "tenon/tenon.hpp"

namespace tenon::test {

/// Inputs uniform in [-1, 1), labels cycling through the classes.
inline Batch toy_batch(std::int64_t n, std::int64_t features, std::int64_t classes, std::uint32_t seed = 1) {
  Batch b;
  b.size = n;
  Array x(DType::f32, {n, features}), t(DType::i32, {n});
  std::uint32_t state = seed * 2654435761U + 1;
  for (float& v : x.values<float>()) {
    state = state * 1664525U + 1013904223U;
    v = static_cast<float>(state >> 8) * 0x1p-23f - 1.f;
  }
  for (std::int64_t i = 0; i < n; ++i)
    t.values<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % classes);
  b.inputs = {x};
  b.targets = {t};
  return b;
}

/// Softmax cross-entropy on "x" (features) with integer labels.
inline CompileOptions toy_options(std::int64_t features, std::int64_t classes) {
  (void)classes;
  CompileOptions o;
  o.inputs = {{"x", {features}}};
  o.targets = {{"t", {}, DType::i32}};
  o.loss = softmax_crossentropy;
  o.optimizer = Sgd{.lr = 0.5f};
  return o;
}

inline bool same_bits(const Array& a, const Array& b) {
  return a.spec() == b.spec() && std::memcmp(a.bytes(), b.bytes(), a.spec().bytes()) == 0;
}

}  // namespace tenon::test
