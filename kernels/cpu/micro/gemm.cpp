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
// With few rows there are too few chains in two vectors to hide the latency of an FMA: four panels at once.
constexpr int wide_rows = width == 16 ? 3 : registers == 32 ? 2 : 1, wide_panels = 4;

// Terms that all tiles take before the next: so many of a panel of b stay in L1.
constexpr std::int64_t piece_terms = width == 16 ? order::k_chunk : 256;

/// b as the inner loop reads it: k_step floats from one k to the next, panel_step between panels.
struct Columns {
  const float* at;
  std::int64_t k_step, panel_step;
};

/// Where a tile's sums go: floats between rows, and between panels.
struct Sums {
  float* at;
  std::int64_t row_step, panel_step;
};

/// sums (rows, vectors) = chains over one chunk, or a piece of it: from what is there, or from 0. The stride between rows
/// of a is a constant, so that every address is one register and a displacement; 0: [k][rows].
template <int rows, int vectors, std::int64_t stride>
void chain(const float* a, Columns b, std::int64_t terms, bool go_on, const Sums& sums) {
  const auto slot = [&](int r, int v) __attribute__((always_inline)) {
    return sums.at + v / 2 * sums.panel_step + r * sums.row_step + v % 2 * width;
  };
  Vf acc[rows][vectors];
  if (go_on)
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::load(slot(r, v));
  else
    clear(acc);
  const auto add = [&](int k) __attribute__((always_inline)) {
    Vf column[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) column[v] = Simd::load(b.at + v / 2 * b.panel_step + v % 2 * width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vf x = Simd::set(stride == 0 ? a[k * rows + r] : a[r * stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) acc[r][v] = Simd::fma(x, column[v], acc[r][v]);
    }
    b.at += b.k_step;
  };
  std::int64_t k = 0;
  for (; k + unrolled_terms <= terms; k += unrolled_terms) {
#pragma GCC unroll 4
    for (int u = 0; u < unrolled_terms; ++u) add(u);
    a += unrolled_terms * (stride == 0 ? rows : 1);
  }
  for (; k < terms; ++k) {
    add(0);
    a += stride == 0 ? rows : 1;
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) Simd::store(slot(r, v), acc[r][v]);
}

using Chain = void (*)(const float*, Columns, std::int64_t, bool, const Sums&);
template <int vectors, std::int64_t stride>
constexpr Chain chains[] = {nullptr,
                            chain<1, vectors, stride>,
                            chain<2, vectors, stride>,
                            chain<3, vectors, stride>,
                            chain<4, vectors, stride>,
                            chain<5, vectors, stride>,
                            chain<6, vectors, stride>,
                            chain<7, vectors, stride>,
                            chain<8, vectors, stride>,
                            chain<9, vectors, stride>,
                            chain<10, vectors, stride>,
                            chain<11, vectors, stride>,
                            chain<12, vectors, stride>,
                            chain<13, vectors, stride>,
                            chain<14, vectors, stride>};
template <std::int64_t stride>
constexpr Chain wide_chains[] = {nullptr, chain<1, 2 * wide_panels, stride>, chain<2, 2 * wide_panels, stride>,
                                 chain<3, 2 * wide_panels, stride>};

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
    for (std::int64_t p = in_place; p < panels; ++p) pack_b(g, w.b, panel_columns(p), terms, packed_b + p * size);
    for (std::int64_t t0 = which.begin; t0 < which.end; t0 += g.tile_block) {
      const std::int64_t t1 = smaller(t0 + g.tile_block, which.end);
      pack_a(g, w.a, tiles, {t0, t1}, terms, packed_a);
      for (std::int64_t p = 0; p < panels;) {
        const bool lies_there = p < in_place;
        const Columns b = lies_there ? Columns{w.b + terms.begin * g.b_row + columns.begin + p * panel, g.b_row, panel}
                                     : Columns{packed_b + p * size, panel, size};
        const std::int64_t whole = (lies_there ? in_place : columns.size() / panel) - p;
        const std::int64_t together = tiles.rows.size() <= wide_rows && whole >= wide_panels ? wide_panels : 1;
        const std::int64_t count = together > 1 ? together * panel : panel_columns(p).size();
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
            chain_of(g, rows, count)(a + k * (g.a_stride == 0 ? rows : 1),
                                     {b.at + k * b.k_step, b.k_step, b.panel_step}, end - k, k > 0, sums);
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
