// A product of two packed operands, c (m,n) = a (m,k) b (k,n), in blocks of 32 x 32 that leave as soon as they are whole.
// Parallel in one of two ways (TileProduct::by_panels), so that the larger operand is packed where it is used:
//   by rows      b is packed once for all threads; each packs some rows of a at a time, which stay in its L2, and passes all
//                panels of b over them.
//   by panels    a is packed once for all threads and stays in L2; each packs one panel of b at a time and passes it over
//                all of a.
// Order: one chain over k, 32 terms at a time.
#pragma once
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/bf16_operands.hpp"
#include "kernels/cpu/micro/store_out.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// All threads of the team call it. rows.pack(rows, to): a block of 32 rows, rows.fetch(rows) asks for them;
/// pack_panel(columns, to); out.store(z, rows, columns) writes z [32][32] to c.
template <bool split, class Rows, class Panel, class Out>
TENON_INLINE void multiply_packed(const TileProduct& p, float* work, Range who, const Rows& left,
                                  const Panel& pack_panel, const Out& out) {
  const std::int64_t steps = blocks_of(p.k, tile_terms), size = block_bf16s<split>(steps),
                     blocks = blocks_of(p.m, block_side), panels = blocks_of(p.n, block_side);
  float* mine = work + p.own_at + who.begin * p.own_each;
  auto *shared = reinterpret_cast<Bf16*>(work + p.shared_at), *own = reinterpret_cast<Bf16*>(mine);
  float* z = mine + p.sums_at;
  const auto rows_of = [&](std::int64_t i) { return Range{i * block_side, smaller((i + 1) * block_side, p.m)}; };
  const auto columns_of = [&](std::int64_t q) { return Range{q * block_side, smaller((q + 1) * block_side, p.n)}; };
  const auto multiply_one = [&](std::int64_t i, std::int64_t q, const Bf16* a, const Bf16* b) {
    const Range rows = rows_of(i), columns = columns_of(q);
    multiply_block<split>({a, tile_terms, tile_bf16s, block_bf16s<split>(1), 2 * tile_bf16s, no_taps, 1, steps, b,
                           right_step<split>(columns.size()), z, false},
                          rows.size(), columns.size());
    out.store(z, rows, columns);
  };
  const Range my_blocks = part(blocks, who.begin, who.end), my_panels = part(panels, who.begin, who.end);
  const Claims claims{reinterpret_cast<std::int64_t*>(work + p.claims_at)};
  if (who.begin == 0) claims.reset();
  if (p.by_panels) {
    for (std::int64_t i = my_blocks.begin; i < my_blocks.end; ++i) left.pack(rows_of(i), shared + i * size);
#pragma omp barrier
    const TileScope tiles;
    for (std::int64_t q = claims.claim(); q < panels; q = claims.claim()) {
      pack_panel(columns_of(q), own);
      for (std::int64_t i = 0; i < blocks; ++i) multiply_one(i, q, shared + i * size, own);
    }
    return settle(p.past_caches);
  }
  for (std::int64_t q = my_panels.begin; q < my_panels.end; ++q) pack_panel(columns_of(q), shared + q * size);
#pragma omp barrier
  const TileScope tiles;
  const std::int64_t pieces = blocks_of(blocks, p.blocks_each);
  for (std::int64_t piece = claims.claim(), next; piece < pieces; piece = next) {
    next = claims.claim();
    const std::int64_t i0 = piece * p.blocks_each, i1 = smaller(i0 + p.blocks_each, blocks);
    for (std::int64_t i = i0; i < i1; ++i) left.pack(rows_of(i), own + (i - i0) * size);
    // The next piece arrives in L2 meanwhile.
    const Range ahead{smaller(next * p.blocks_each * block_side, p.m),
                      smaller((next + 1) * p.blocks_each * block_side, p.m)};
    const auto fetch = [&](std::int64_t part_of, std::int64_t all) {
      const Range some = part(ahead.size(), part_of, all);
      left.fetch({ahead.begin + some.begin, ahead.begin + some.end});
    };
    if (p.panels_first) {
      for (std::int64_t i = i0; i < i1; ++i)
        for (std::int64_t q = 0; q < panels; ++q) {
          fetch((i - i0) * panels + q, (i1 - i0) * panels);
          multiply_one(i, q, own + (i - i0) * size, shared + q * size);
        }
      continue;
    }
    for (std::int64_t q = 0; q < panels; ++q) {
      fetch(q, panels);
      for (std::int64_t i = i0; i < i1; ++i) multiply_one(i, q, own + (i - i0) * size, shared + q * size);
    }
  }
  settle(p.past_caches);
}

/// Asks for a row.
TENON_INLINE void fetch_row(const float* from, std::int64_t count) {
  for (std::int64_t k = 0; k < count; k += 16) __builtin_prefetch(from + k, 0, 2);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
