// The formula of make_golden.py: weights, images, labels and sampled coordinates as words of Philox.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/common/philox.hpp"
#include "tenon/array.hpp"

namespace tenon::golden {

inline constexpr std::uint64_t seed = 20240521;
inline constexpr int steps = 3;
inline constexpr std::uint32_t weight_site = 0, pixel_site = 100, label_site = 101, sample_site = 200;

/// A parameter: values (word % (2 range + 1) - range) / 2^bits.
struct Parameter {
  std::string name;
  Shape shape;
  std::int64_t range = 0;
  int bits = 0;
};

inline std::int64_t draw(std::uint32_t site, std::uint32_t step, std::int64_t element) {
  return philox::word(philox::key(seed, philox::Purpose::generator), static_cast<std::uint64_t>(element), site, step,
                      0) >>
         8;
}

inline Array weights(const Parameter& p, std::uint32_t number, DType dtype) {
  Array a(DType::f32, p.shape);
  std::int64_t i = 0;
  for (float& v : a.values<float>()) {
    const std::int64_t k = draw(weight_site + number, 0, i++) % (2 * p.range + 1) - p.range;
    v = static_cast<float>(k) / static_cast<float>(1 << p.bits);
  }
  return a.to(dtype);
}

/// Images (n,28,28), shaped as `shape`.
inline Array images(std::uint32_t step, const Shape& shape, DType dtype) {
  Array a(DType::f32, shape);
  std::int64_t i = 0;
  for (float& pixel : a.values<float>()) {
    const std::int64_t v = draw(pixel_site, step, i), x = i % 28, y = i / 28 % 28;
    const bool inside = x >= 4 && x < 24 && y >= 4 && y < 24;
    pixel = inside && v % 10 <= 2 ? static_cast<float>(1 + v / 16 % 15) / 16.f : 0.f;
    ++i;
  }
  return a.to(dtype);
}

inline Array labels(std::uint32_t step, std::int64_t n) {
  Array a(DType::i32, {n});
  std::int64_t i = 0;
  for (std::int32_t& label : a.values<std::int32_t>())
    label = static_cast<std::int32_t>(draw(label_site, step, i++) % 10);
  return a;
}

inline std::vector<std::int64_t> coordinates(std::uint32_t number, std::int64_t size, std::int64_t most) {
  std::vector<std::int64_t> c;
  for (std::int64_t j = 0; j < (size <= most ? size : most); ++j)
    c.push_back(size <= most ? j : draw(sample_site + number, 0, j) % size);
  return c;
}

}  // namespace tenon::golden
