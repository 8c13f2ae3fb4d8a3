// gemm_bf16: c (m,n) = epilogue(sum over k of a(i,k) b(k,j)) with a and b rounded to bf16, any strides; matmul and both
// its gradients. dz is undone in fp32 before it is rounded; bias gradients are the fp32 sums of gemm_tiled.
// Layout: blocks of 32 x 32. Each thread packs a into tiles [16 rows][32 terms] and b into tiles [16 pairs][16 columns]
// that stay in its L2, k in pieces of 512, so that a panel of b stays in L1 while blocks of rows pass.
// gemm_split (precision tf32) packs both halves of every number (bf16_pack.hpp) and multiplies them three times instead.
// Parallel by regions or by chunks of k (gemm_regions.hpp, which also has the epilogue).
// Order: one chain per output inside chunks of order::k_chunk, 32 terms at a time; chunk sums join by the pair tree.
// Error: (rounding + (min(k, 1024) + log2 of the chunks) * 2^-24) * sum |a b| at most, where rounding is 2 * 2^-8, and
// 3 * 2^-16 of split numbers.
#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/micro/bf16_operands.hpp"
#include "kernels/cpu/micro/gemm_regions.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Steps of 32 terms in a piece: a panel of b takes 32 KiB.
template <bool split>
constexpr std::int64_t piece_steps = 16 / parts<split>;

/// Rows in blocks of 32.
struct Blocks {
  Range rows;
  std::int64_t count;
  TENON_MEMBER std::int64_t begin(std::int64_t t) const { return smaller(rows.begin + t * block_side, rows.end); }
};

TENON_INLINE std::int64_t steps_of(Range terms) { return blocks_of(terms.size(), tile_terms); }

/// Rows of a over `terms`: [16 rows][steps][step][tile], where `step` is what lies between tiles of neighbouring terms; what
/// a tile has more is zero.
template <class Half>
void pack_rows(const GemmGeometry& g, const float* a, Range rows, Range terms, std::int64_t step, Bf16* to) {
  const std::int64_t steps = steps_of(terms);
  for (std::int64_t r0 = rows.begin; r0 < rows.end; r0 += tile_rows, to += steps * step)
    for (std::int64_t s = 0; s < steps; ++s) {
      const std::int64_t k0 = terms.begin + s * tile_terms, count = smaller(tile_terms, terms.end - k0);
      Bf16* tile = to + s * step;
      if (g.a_col == 1) {
        for (std::int64_t r = 0; r < tile_rows; ++r)
          round_row<Half>(a + (r0 + r) * g.a_row + k0, r0 + r < rows.end ? count : 0, tile + r * tile_terms,
                          tile_terms);
        continue;
      }
      for (std::int64_t r = 0; r < tile_rows; r += width)
        for (std::int64_t k = 0; k < tile_terms; k += 2 * width)
          turn_terms<Half>(
              [&](std::int64_t t) -> const float* {
                if (k + t >= count) return nullptr;
                const float* line = a + (k0 + k + t) * g.a_col + r0 + r;
                // Terms are far apart, and no hardware guesses that these rows' neighbours come next.
                __builtin_prefetch(line + rows.size(), 0, 2);
                return line;
              },
              rows.end - r0 - r, tile + r * tile_terms + k, tile_terms);
    }
}

template <bool split>
struct TileForm {
  static constexpr std::int64_t panel = block_side, slot_floats = block_side * block_side, batch = 0,
                                column_step = tile_columns;
  static constexpr bool turns = false;
  static constexpr std::int64_t least_rows = block_side;
  TENON_INLINE std::int64_t least_columns(std::int64_t) { return panel; }
  static constexpr std::int64_t whole_terms = piece_steps<split> * tile_terms;
  using Scope = TileScope;
  TENON_INLINE Blocks tiles_of(Range rows) { return {rows, blocks_of(rows.size(), block_side)}; }

  template <class Slot, class Done>
  TENON_INLINE void multiply(const Work& w, const Blocks& blocks, Range which, Range columns, Range terms,
                             const Slot& slot, const Done& done) {
    const GemmGeometry& g = w.g;
    const std::int64_t panels = blocks_of(columns.size(), panel), steps = steps_of(terms);
    auto* packed_a = reinterpret_cast<Bf16*>(w.own);
    auto* packed_b = reinterpret_cast<Bf16*>(w.own + g.b_at);
    const auto panel_columns = [&](std::int64_t p) {
      return Range{columns.begin + p * panel, smaller(columns.begin + (p + 1) * panel, columns.end)};
    };
    constexpr std::int64_t a_step = parts<split> * tile_bf16s;
    const auto b_step = [](Range across) { return right_step<split>(across.size()); };
    const bool new_b = w.held.needs_b(columns, terms);
    const std::int64_t panel_size = 2 * steps * parts<split> * tile_bf16s;
    if (new_b) {
      // In the order in which b lies in memory: all columns of some terms, or all terms of some columns.
      const std::int64_t k_step = g.b_col == 1 ? tile_terms : terms.size();
      for (std::int64_t k = 0; k < terms.size(); k += k_step)
        for (std::int64_t p = 0; p < panels; ++p) {
          const Range across = panel_columns(p);
          pack_right<split>(w.b + (terms.begin + k) * g.b_row + across.begin * g.b_col,
                            smaller(k_step, terms.size() - k), g.b_row, across.size(), g.b_col,
                            packed_b + p * panel_size + k / tile_terms * b_step(across));
        }
    }
    for (std::int64_t t0 = which.begin; t0 < which.end; t0 += g.tile_block) {
      const std::int64_t t1 = smaller(t0 + g.tile_block, which.end);
      const Range together{blocks.begin(t0), blocks.begin(t1)};
      const bool new_a = w.held.needs_a(together, terms);
      if (new_a) pack_rows<Upper>(g, w.a, together, terms, a_step, packed_a);
      if (new_a && split) pack_rows<Lower>(g, w.a, together, terms, a_step, packed_a + tile_bf16s);
      for (std::int64_t s0 = 0; s0 < steps; s0 += piece_steps<split>) {
        const std::int64_t s1 = smaller(s0 + piece_steps<split>, steps);
        for (std::int64_t p = 0; p < panels; ++p) {
          const Range across = panel_columns(p);
          for (std::int64_t t = t0; t < t1; ++t) {
            const Range rows{blocks.begin(t), blocks.begin(t + 1)};
            float* z = slot(t, p);
            if (s1 == steps && !g.by_chunks) fetch_results(w, rows, across);
            multiply_block<split>(
                {packed_a + (t - t0) * panel_size + s0 * a_step, tile_terms, steps * a_step, a_step, tile_bf16s,
                 no_taps, 1, s1 - s0, packed_b + p * panel_size + s0 * b_step(across), b_step(across), z, s0 > 0},
                rows.size(), across.size());
            if (s1 == steps) done(t, p, rows, across);
          }
        }
      }
    }
  }
};

}  // namespace

void bf16_gemm(const Call& call) { run_gemm<TileForm<false>>(call); }
void split_gemm(const Call& call) { run_gemm<TileForm<true>>(call); }

}  // namespace tenon::cpu::TENON_ISA
