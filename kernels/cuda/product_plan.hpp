// How a product on tensor cores is cut into tiles, and its sums into parts. Plain C++: the library asks, to make room for the parts, and
// the module, to start the kernels.
//
// The least of a few estimates decides. Dense layers are bound by what multiprocessors can fetch from the second-level cache: on an H200
// 7 TB/s were measured for all together, about 50 bytes a nanosecond each. Where few ask, 90 are taken for granted, and 2 us for a
// launch that joins parts: guesses. A block fetches its rows and columns of all its terms; the multiprocessor that has the most blocks is
// the last to end.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/common/geometry.hpp"

namespace tenon::cuda {

/// large: 128 x 128 sums in registers (contraction_mma.cuh). The others are those of product_tiles.cuh: 64 x 64 sums, the same with
/// the terms cut in parts, 32 x 32, and 16 x 16.
enum class ProductTiles : std::uint8_t { large, wide, deep, middle, small };

struct ProductPlan {
  ProductTiles tiles = ProductTiles::small;
  std::int64_t parts = 1, part_terms = 0;  // part i has terms [i part_terms, (i + 1) part_terms)
};

inline ProductPlan product_plan(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t multiprocessors = 132, least_part = 256;
  const auto ceil = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const auto tiles = [&](std::int64_t size) { return ceil(m, size) * ceil(n, size); };
  if (m > 64 && n > 64 && k >= 256 && tiles(128) >= 128) return {ProductTiles::large, 1, k};
  // Nanoseconds, for blocks of so many rows and columns that go through so many terms.
  const auto estimate = [&](std::int64_t size, std::int64_t blocks, std::int64_t terms) {
    const double rate = std::clamp(50. * multiprocessors / static_cast<double>(blocks), 50., 90.);
    const double bytes = 4. * static_cast<double>(2 * size * terms + size * size);
    return static_cast<double>(ceil(blocks, multiprocessors)) * bytes / rate;
  };
  ProductPlan best{ProductTiles::wide, 1, k};
  double least = estimate(64, std::max<std::int64_t>(1, tiles(64)), k);
  const auto consider = [&](ProductPlan plan, double time) {
    if (time >= least) return;
    best = plan;
    least = time;
  };
  consider({ProductTiles::middle, 1, k}, estimate(32, std::max<std::int64_t>(1, tiles(32)), k));
  consider({ProductTiles::small, 1, k}, estimate(16, std::max<std::int64_t>(1, tiles(16)), k));
  // Parts are a multiple of 32 terms. Joining them takes a launch, and the sums go out and in again.
  const std::int64_t wanted = std::min(multiprocessors / std::max<std::int64_t>(1, tiles(64)), k / least_part);
  if (wanted > 1) {
    const std::int64_t part_terms = ceil(ceil(k, wanted), 32) * 32, parts = ceil(k, part_terms);
    const double join = 2000. + 8. * static_cast<double>(parts) * static_cast<double>(m * n) / 5000.;
    consider({ProductTiles::deep, parts, part_terms}, estimate(64, tiles(64) * parts, part_terms) + join);
  }
  return best;
}

/// Sums of dz that a bias gradient has; 0 without one.
inline std::int64_t bias_lines(const ProductGeometry& g) { return !g.bias_grad ? 0 : g.a_in == 0 ? g.m : g.n; }

/// Floats of workspace: the sums of all parts, and behind them those of the bias. Beside large tiles the bias has parts of its own.
inline std::int64_t product_room(const ProductGeometry& g) {
  const ProductPlan plan = product_plan(g.m, g.n, g.k);
  if (plan.tiles == ProductTiles::large) return bias_lines(g) * std::min<std::int64_t>(256, (g.k + 1023) / 1024);
  return plan.parts == 1 ? 0 : plan.parts * (g.m * g.n + bias_lines(g));
}

}  // namespace tenon::cuda
