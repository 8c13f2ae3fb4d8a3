// gemm_tiled: c (m,n) = epilogue(sum over k of a(i,k) b(k,j)), any strides; matmul and both its gradients.
// Layout: tiles of up to 14 rows (6 with 16 registers) times panels of two vectors of columns in registers. Each thread
// packs what it multiplies into blocks of its own that stay in its L2; columns of b that already lie side by side are
// read in place.
// Parallel, with nothing packed by one thread and read by another:
//   by regions   c is cut into a grid of rows and columns, one piece a thread.
//   by chunks    a small c with a long k: a thread takes whole chunks of k; only chunk sums cross.
// Order: one FMA chain per output inside chunks of order::k_chunk, chunk sums join by the pair tree: bits depend on
// neither tiles nor threads.
// Error: (min(k, 1024) + log2 of the chunks) * 2^-24 * sum |a b| at most.
#include <omp.h>

#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/gemm_pack.hpp"
#include "kernels/cpu/micro/prologue.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t slot_floats = tile_height * panel;
// With few rows there are too few chains in two vectors to hide the latency of an FMA: four panels at once. An FMA of
// AVX-512 broadcasts from memory; NEON takes a register for that, and has none left for a third row.
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

/// sums (rows, vectors) = chains over one chunk, or a piece of it: from what is there, or from 0. The stride between rows of a is a constant, so that every
/// address is one register and a displacement; 0: [k][rows].
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

struct Work {
  const GemmGeometry& g;
  const Call& call;
  const float* a;
  const float* b;
  float* shared;
  float* own;  // this thread's blocks
};

/// Bias, activation, and the way out to c, from z (rows, stride).
TENON_INLINE void store_rows(const Work& w, const float* z, std::int64_t stride, Range rows, Range columns,
                             std::int64_t row_length) {
  float* c = output<float>(w.call, 0);
  const float* bias = w.g.bias ? input<float>(w.call, 2) + columns.begin : nullptr;
  pointwise::with_unary<Simd>(w.g.activation, w.g.alpha, 0.f, [&](const auto& f) {
    for (std::int64_t r = 0; r < rows.size(); ++r)
      for_each_lanes(columns.size(), [&](std::int64_t j, auto lanes) {
        Vf v = lanes.load(z + r * stride + j);
        if (bias != nullptr) v += lanes.load(bias + j);
        lanes.store(c + (rows.begin + r) * row_length + columns.begin + j, f.value(v));
      });
  });
}
TENON_INLINE void store_tile(const Work& w, const float* slot, Range rows, Range columns) {
  if (!w.g.turned) return store_rows(w, slot, panel, rows, columns, w.g.n);
  constexpr int height = (tile_height + width - 1) / width * width;
  float z[panel * height];
  for (int r = 0; r < height; r += width)
    for (int j = 0; j < panel; j += width)
      if (r < rows.size())
        transpose_square(slot + r * panel + j, panel, smaller(rows.size() - r, width), z + j * height + r, height);
  store_rows(w, z, height, columns, rows, w.g.m);
}

/// One chunk of tiles x columns (at most g.column_block): chain sums into slot(tile, panel), then done(tile, panel).
/// Slots of neighbouring panels of a tile are neighbours. Where nothing follows the sums, those of whole panels go to c.
template <class Slot, class Done>
TENON_INLINE void multiply(const Work& w, const Tiles& tiles, Range which, Range columns, Range terms, const Slot& slot,
                           const Done& done) {
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
          chain_of(g, rows, count)(a + k * (g.a_stride == 0 ? rows : 1), {b.at + k * b.k_step, b.k_step, b.panel_step},
                                   end - k, k > 0, sums);
          if (direct || end < terms.size()) continue;
          for (std::int64_t i = 0; i < together; ++i) done(t, p + i, Range{row, row + rows}, panel_columns(p + i));
        }
      }
      p += together;
    }
  }
}

TENON_INLINE Range terms_of(const GemmGeometry& g, std::int64_t chunk) {
  return {chunk * order::k_chunk, smaller(g.k, (chunk + 1) * order::k_chunk)};
}

/// A piece of c, all of k: blocks of columns, blocks of rows, chunks. Entry e of the pair tree of a tile is e * entry
/// behind.
void region(const Work& w, Range rows, Range columns) {
  const GemmGeometry& g = w.g;
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk);
  for (std::int64_t c0 = columns.begin; c0 < columns.end; c0 += g.column_block) {
    const Range block{c0, smaller(c0 + g.column_block, columns.end)};
    const std::int64_t panels = blocks_of(block.size(), panel);
    for (std::int64_t r0 = rows.begin; r0 < rows.end; r0 += g.row_block) {
      const Tiles tiles = tiles_of({r0, smaller(r0 + g.row_block, rows.end)});
      if (chunks == 1) {
        // One tile takes several panels at once; several tiles one panel.
        const auto slot = [&](std::int64_t t, std::int64_t p) {
          return w.own + g.piece_at + (tiles.count == 1 ? p % wide_panels : t % g.tile_block) * slot_floats;
        };
        multiply(w, tiles, {0, tiles.count}, block, {0, g.k}, slot,
                 [&](std::int64_t t, std::int64_t p, Range r, Range c) { store_tile(w, slot(t, p), r, c); });
        continue;
      }
      const std::int64_t entry = tiles.count * panels * slot_floats;
      const auto at = [&](std::int64_t t, std::int64_t p) {
        return w.own + g.stack_at + (t * panels + p) * slot_floats;
      };
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
        // The height of the stack before chunk i is the number of ones in i.
        const int height = __builtin_popcountll(static_cast<unsigned long long>(chunk));
        multiply(
            w, tiles, {0, tiles.count}, block, terms_of(g, chunk),
            [&](std::int64_t t, std::int64_t p) { return at(t, p) + height * entry; },
            [&](std::int64_t t, std::int64_t p, Range r, Range c) {
              float* stack = at(t, p);
              const auto join = [&](int below, int top) {
                add_floats(stack + below * entry, stack + top * entry, slot_floats);
              };
              const int left = order::tree_push(chunk, height, join);
              if (chunk + 1 < chunks) return;
              order::tree_finish(left, join);
              store_tile(w, stack, r, c);
            });
      }
    }
  }
}

/// Whole chunks for each thread, the one at the border split by tiles; then the sums of every tile join.
void by_chunks(const Work& w, std::int64_t thread, std::int64_t threads) {
  const GemmGeometry& g = w.g;
  const Tiles tiles = tiles_of({0, g.m});
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk), panels = blocks_of(g.n, panel),
                     entry = tiles.count * panels * slot_floats;
  float* slots = w.shared + g.slots_at;
  const Range mine = part(chunks * tiles.count, thread, threads);
  for (std::int64_t chunk = mine.begin / tiles.count; chunk * tiles.count < mine.end; ++chunk) {
    const std::int64_t first = chunk * tiles.count;
    const Range which{mine.begin > first ? mine.begin - first : 0, smaller(mine.end - first, tiles.count)};
    for (std::int64_t c0 = 0; c0 < g.n; c0 += g.column_block)
      multiply(
          w, tiles, which, {c0, smaller(c0 + g.column_block, g.n)}, terms_of(g, chunk),
          [&](std::int64_t t, std::int64_t p) {
            return slots + chunk * entry + (t * panels + c0 / panel + p) * slot_floats;
          },
          [](std::int64_t, std::int64_t, Range, Range) {});
  }
#pragma omp barrier
  const Range owned = part(tiles.count * panels, thread, threads);
  for (std::int64_t i = owned.begin; i < owned.end; ++i) {
    float* sums = slots + i * slot_floats;
    for (std::int64_t distance = 1; distance < chunks; distance *= 2)
      for (std::int64_t c = 0; c + distance < chunks; c += 2 * distance)
        add_floats(sums + c * entry, sums + (c + distance) * entry, slot_floats);
    const std::int64_t t = i / panels, p = i % panels;
    store_tile(w, sums, {tiles.begin(t), tiles.begin(t + 1)}, {p * panel, smaller((p + 1) * panel, g.n)});
  }
}

/// Columns of a thread grid: as many as cost the least, counting what every thread multiplies and packs.
TENON_INLINE std::int64_t grid_columns(const GemmGeometry& g, std::int64_t threads) {
  std::int64_t best = 1, least = -1;
  for (std::int64_t across = 1; across <= threads; ++across) {
    if (threads % across != 0) continue;
    const std::int64_t rows = blocks_of(g.m, threads / across),
                       columns = blocks_of(blocks_of(g.n, width), across) * width;
    const std::int64_t cost =
        rows * columns + 8 * (columns + rows);  // packing an element takes about as long as 8 FMAs
    if (least < 0 || cost < least) {
      least = cost;
      best = across;
    }
  }
  return best;
}

/// Sums of dz over its rows, columns `which`: adds in chunks of k_chunk rows, pair tree.
void column_sums(const GemmGeometry& g, const float* dz, Range which, float* to, float* stack) {
  const std::int64_t chunks = order::chunks(g.dz_rows, order::k_chunk), n = g.dz_cols;
  const auto each = [&](const auto& body) {
    for_each_lanes(which.size(), [&](std::int64_t j, auto lanes) { body(which.begin + j, lanes); });
  };
  const auto join = [&](int below, int top) {
    add_floats(stack + below * n + which.begin, stack + top * n + which.begin, which.size());
  };
  int height = 0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    float* acc = stack + height * n;
    each([&](std::int64_t j, auto lanes) { lanes.store(acc + j, Vf{}); });
    for (std::int64_t i = c * order::k_chunk; i < smaller(g.dz_rows, (c + 1) * order::k_chunk); ++i)
      each([&](std::int64_t j, auto lanes) { lanes.store(acc + j, lanes.load(acc + j) + lanes.load(dz + i * n + j)); });
    height = order::tree_push(c, height, join);
  }
  order::tree_finish(height, join);
  each([&](std::int64_t j, auto lanes) { lanes.store(to + j, lanes.load(stack + j)); });
}

}  // namespace

void gemm(const Call& call) {
  const auto& g = geometry<GemmGeometry>(call);
  auto* work = static_cast<float*>(call.workspace);
  const float* gy = input<float>(call, 0);
  // Below this a second thread costs more than it takes over.
  const auto threads = static_cast<std::int32_t>(g.m * g.n * g.k < 262144 ? 1 : smaller(call.threads, g.threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const float* dz = gy;
    if (g.prologue.any) {
      const Range mine = part(g.dz_rows * g.dz_cols, thread, team);
      const auto* saved = static_cast<const char*>(call.in[2]) + mine.begin * (g.prologue.mask ? 1 : 4);
      undo_epilogue(g.prologue, gy + mine.begin, saved, work + g.dz_at + mine.begin, mine.size());
      dz = work + g.dz_at;
#pragma omp barrier
    }
    if (g.bias_grad) {
      Range mine = part(blocks_of(g.dz_cols, width), thread, team);
      mine = {mine.begin * width, smaller(mine.end * width, g.dz_cols)};
      column_sums(g, dz, mine, output<float>(call, 1), work + g.sums_at);
    }
    const Work w{g,
                 call,
                 g.a_in == 0 ? dz : input<float>(call, g.a_in),
                 g.b_in == 0 ? dz : input<float>(call, g.b_in),
                 work,
                 work + g.own_at + thread * g.own_each};
    if (g.by_chunks) {
      by_chunks(w, thread, team);
    } else {
      const std::int64_t across = grid_columns(g, team);
      const Range columns = part(blocks_of(g.n, width), thread % across, across);
      region(w, part(g.m, thread / across, team / across), {columns.begin * width, smaller(columns.end * width, g.n)});
    }
  }
  if (!g.mask) return;
  float* c = output<float>(call, 0);
  auto* mask = output<std::uint8_t>(call, 1);
  parallel_ranges(threads_for(call, g.m * g.n), g.m * g.n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) mask[i] = 0;
    finish_masked(c + begin, mask + begin, begin, end - begin, g.activation == op::UnaryFn::relu, g.dropout, g.site,
                  *call.control);
  });
}

}  // namespace tenon::cpu::TENON_ISA
