// gemm_tiled: c (m,n) = epilogue(sum over k of a(i,k) b(k,j)), any strides; matmul and both its gradients.
// Layout: tiles of up to 14 rows (6 before AVX-512) times panels of two vectors of columns in registers. Each thread
// packs what it multiplies into blocks of its own that stay in its L2; columns of b that already lie side by side are
// read in place.
// Parallel by regions or by chunks of k (gemm_regions.hpp, which also has the epilogue).
// Order: one FMA chain per output inside chunks of order::k_chunk, chunk sums join by the pair tree.
// Error: (min(k, 1024) + log2 of the chunks) * 2^-24 * sum |a b| at most.
#include "kernels/cpu/micro/gemm_pack.hpp"
#include "kernels/cpu/micro/gemm_regions.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t slot_floats = tile_height * panel;
// Terms that all tiles take before the next: so many of a panel of b stay in L1.
constexpr std::int64_t piece_terms = width == 16 ? order::k_chunk : 256;

template <std::int64_t stride>
TENON_INLINE Chain chain_of(std::int64_t rows, std::int64_t columns) {
  return columns > panel   ? wide_chains<stride>[rows]
         : columns > width ? chains<2, stride>[rows]
                           : chains<1, stride>[rows];
}
TENON_INLINE Chain chain_of(const GemmGeometry& g, std::int64_t rows, std::int64_t columns) {
  return g.a_stride == 0                   ? chain_of<0>(rows, columns)
         : g.a_stride == gemm_short_stride ? chain_of<gemm_short_stride>(rows, columns)
                                           : chain_of<gemm_stride>(rows, columns);
}

struct FmaForm {
  static constexpr std::int64_t panel = TENON_ISA::panel, slot_floats = TENON_ISA::slot_floats, batch = wide_panels,
                                column_step = width;
  static constexpr bool turns = true;
  static constexpr std::int64_t least_rows = tile_height;
  TENON_INLINE std::int64_t least_columns(std::int64_t rows) { return rows <= wide_rows ? wide_panels * panel : panel; }
  static constexpr std::int64_t whole_terms = 0;
  struct Scope {};
  TENON_INLINE Tiles tiles_of(Range rows) { return TENON_ISA::tiles_of(rows); }
  /// One chunk of tiles x columns: chain sums into slot(tile, panel), then done(tile, panel). Slots of neighbouring panels
  /// of a tile are neighbours. Where nothing follows the sums, those of whole panels go to c.
  template <class Slot, class Done>
  TENON_INLINE void multiply(const Work& w, const Tiles& tiles, Range which, Range columns, Range terms,
                             const Slot& slot, const Done& done) {
    const GemmGeometry& g = w.g;
    const std::int64_t panels = blocks_of(columns.size(), panel), size = terms.size() * panel;
    float* packed_a = w.own;
    float* packed_b = w.own + g.b_at;
    float* c = output<float>(w.call, 0);
    const auto panel_columns = [&](std::int64_t p) {
      return Range{columns.begin + p * panel, smaller(columns.begin + (p + 1) * panel, columns.end)};
    };
    // In place as far as panels are whole.
    const std::int64_t in_place = g.b_in_place ? columns.size() / panel : 0;
    if (in_place < panels && w.held.needs_b(columns, terms))
      for (std::int64_t p = in_place; p < panels; ++p) pack_b(g, w.b, panel_columns(p), terms, packed_b + p * size);
    for (std::int64_t t0 = which.begin; t0 < which.end; t0 += g.tile_block) {
      const std::int64_t t1 = smaller(t0 + g.tile_block, which.end);
      if (w.held.needs_a({tiles.begin(t0), tiles.begin(t1)}, terms)) pack_a(g, w.a, tiles, {t0, t1}, terms, packed_a);
      for (std::int64_t p = 0; p < panels;) {
        const bool lies_there = p < in_place;
        const Columns b = lies_there ? Columns{w.b + terms.begin * g.b_row + columns.begin + p * panel, g.b_row, panel}
                                     : Columns{packed_b + p * size, panel, size};
        const std::int64_t whole = (lies_there ? in_place : columns.size() / panel) - p;
        const std::int64_t together = tiles.rows.size() <= wide_rows && whole >= wide_panels ? wide_panels : 1;
        const std::int64_t count = together > 1 ? together * panel : panel_columns(p).size();
        // The next panel, of this piece or more likely than not of the next, comes from memory while the tiles pass over this
        // one.
        const bool one_more = columns.begin + (p + 2) * panel <= g.n;
        const float* next = lies_there && one_more && together == 1 ? b.at + panel : nullptr;
        std::int64_t asked = 0;
        for (std::int64_t k = 0; k < terms.size(); k += piece_terms) {
          const std::int64_t end = smaller(k + piece_terms, terms.size());
          for (std::int64_t t = t0; t < t1; ++t) {
            const std::int64_t row = tiles.begin(t), rows = tiles.begin(t + 1) - row;
            const float* a = packed_a + (row - tiles.begin(t0)) * (g.a_stride == 0 ? terms.size() : g.a_stride);
            const bool direct = g.sums_to_c && count % panel == 0;
            const Sums sums = direct ? Sums{c + row * g.n + columns.begin + p * panel, g.n, panel}
                                     : Sums{slot(t, p), panel, slot_floats};
            if (direct && k == 0)
              fetch_results(w, {row, row + rows}, {columns.begin + p * panel, columns.begin + p * panel + count});
            const float* ahead = next != nullptr && asked < terms.size() ? next + asked * b.k_step : nullptr;
            asked += (end - k) / unrolled_terms;
            chain_of(g, rows, count)(a + k * (g.a_stride == 0 ? rows : 1),
                                     {b.at + k * b.k_step, b.k_step, b.panel_step, ahead}, end - k, k > 0, sums);
            if (direct || end < terms.size()) continue;
            for (std::int64_t i = 0; i < together; ++i) done(t, p + i, Range{row, row + rows}, panel_columns(p + i));
          }
        }
        p += together;
      }
    }
  }
};

}  // namespace

void gemm(const Call& call) { run_gemm<FmaForm>(call); }

}  // namespace tenon::cpu::TENON_ISA
