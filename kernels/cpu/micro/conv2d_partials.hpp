// Sums over the samples, for filter and bias gradients: each group of order::sample_group images has partial sums of its
// own, which join by the pair tree.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// True where threads that take whole groups have about as much to do each.
TENON_INLINE bool shared_evenly(std::int64_t groups, std::int64_t team) {
  return groups % team == 0 || groups >= 4 * team;
}

/// All threads of the team call it.
TENON_INLINE void clear_partials(float* partials, std::int64_t each, std::int64_t groups) {
#pragma omp for schedule(static)
  for (std::int64_t s = 0; s < groups; ++s) clear_floats(partials + s * each, each);
}

/// to[k] += dz (positions, k), position by position.
TENON_INLINE void add_positions(const float* dz, std::int64_t positions, std::int64_t filters, float* to) {
  for_each_lanes(filters, [&](std::int64_t k, auto lanes) {
    Vf sum = lanes.load(to + k);
    for (std::int64_t i = 0; i < positions; ++i) sum += lanes.load(dz + i * filters + k);
    lanes.store(to + k, sum);
  });
}

/// The pair tree over (groups, each), level by level: partial i takes i + distance. All threads of the team call it.
TENON_INLINE void join_partials(float* partials, std::int64_t each, std::int64_t groups) {
  for (std::int64_t distance = 1; distance < groups; distance *= 2)
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < blocks_of(each, 1024); ++block)
      for (std::int64_t i = 0; i + distance < groups; i += 2 * distance) {
        float* to = partials + i * each + block * 1024;
        const float* from = to + distance * each;
        add_floats(to, from, smaller(1024, each - block * 1024));
      }
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
