// gemm_tiled: c (m,n) = epilogue(sum over k of a(i,k) b(k,j)), any strides, c row-major; matmul and both its gradients.
// Layout: a is packed as tiles of up to `tile_rows` rows, [k][rows] where its rows are neighbours in memory, else [rows][chunk
// of k] at a distance that is no multiple of a page (14 rows a page apart would share one set of L1); b as panels of two
// vectors of columns, [k][2 width].
// Parallel over tiles of rows or panels of columns, whichever are more; the operand that is not split is packed by all
// threads first, the split one by its owner just before use.
// Order: one FMA chain per output inside chunks of order::k_chunk, chunk sums join by the pair tree: bits depend on
// neither tiles nor threads. Error: (min(k, 1024) + log2 of the chunks) * 2^-24 * sum |a b| at most.
#include <omp.h>

#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/prologue.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int panel = 2 * width;
// Accumulators, two columns and a broadcast fill the register file: 32 registers with AVX-512, 16 before.
constexpr int tile_rows = width == 16 ? 14 : 6;

struct Tiling {
  std::int64_t tiles, panels, chunks;
  int depth;
};
TENON_INLINE Tiling tiling(const GemmGeometry& g) {
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk);
  return {blocks_of(g.m, tile_rows), blocks_of(g.n, panel), chunks, order::tree_depth(chunks)};
}
/// First row of a tile: heights differ by at most one, so that the last tile is not a sliver.
TENON_INLINE std::int64_t tile_begin(const GemmGeometry& g, std::int64_t tiles, std::int64_t t) { return t * g.m / tiles; }

TENON_INLINE void pack_a(const GemmGeometry& g, const float* a, std::int64_t row, std::int64_t rows, std::int64_t k0, std::int64_t k1, float* work) {
  const float* from = a + row * g.a_row;
  if (g.a_stride == 0) {  // rows are neighbours in memory: [k][rows], whole vectors move
    float* to = work + g.a_at + row * g.k;
    for (std::int64_t k = k0; k < k1; ++k)
      for_each_lanes(rows, [&](std::int64_t r, auto lanes) { lanes.store(to + k * rows + r, lanes.load(from + k * g.a_col + r)); });
    return;
  }
  for (std::int64_t k = k0; k < k1;) {
    const std::int64_t chunk = k / order::k_chunk, end = smaller(k1, (chunk + 1) * order::k_chunk);
    float* to = work + g.a_at + (chunk * g.m + row) * g.a_stride - chunk * order::k_chunk;
    for (std::int64_t r = 0; r < rows; ++r) {
      if (g.a_col == 1) std::memcpy(to + r * g.a_stride + k, from + r * g.a_row + k, static_cast<std::size_t>(end - k) * sizeof(float));
      else
        for (std::int64_t i = k; i < end; ++i) to[r * g.a_stride + i] = from[r * g.a_row + i * g.a_col];
    }
    k = end;
  }
}

TENON_INLINE void pack_b(const GemmGeometry& g, const float* b, std::int64_t column, std::int64_t k0, std::int64_t k1, float* to) {
  const std::int64_t columns = smaller(panel, g.n - column);
  const float* from = b + column * g.b_col;
  if (g.b_col == 1 && columns == panel) {
    for (std::int64_t k = k0; k < k1; ++k) {
      Simd::store(to + k * panel, Simd::load(from + k * g.b_row));
      Simd::store(to + k * panel + width, Simd::load(from + k * g.b_row + width));
    }
    return;
  }
  if (columns < panel)
    for (std::int64_t i = k0 * panel; i < k1 * panel; ++i) to[i] = 0.f;
  // Blocks of 16 k keep the lines of every column in L1 while they are turned.
  for (std::int64_t kb = k0; kb < k1; kb += 16)
    for (std::int64_t j = 0; j < columns; ++j)
      for (std::int64_t k = kb; k < smaller(kb + 16, k1); ++k) to[k * panel + j] = from[k * g.b_row + j * g.b_col];
}

/// slot (rows, panel) = chain over k of one chunk. The stride between rows of a is a constant, so that every address is one
/// register and a displacement; 0: [k][rows].
template <int rows, std::int64_t stride>
void chain(const float* a, const float* b, std::int64_t terms, float* slot) {
  Vf acc[rows][2] = {};
  for (std::int64_t k = 0; k < terms; ++k) {
    const Vf b0 = Simd::load(b + k * panel), b1 = Simd::load(b + k * panel + width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vf x = Simd::set(stride == 0 ? a[k * rows + r] : a[r * stride + k]);
      acc[r][0] = Simd::fma(x, b0, acc[r][0]);
      acc[r][1] = Simd::fma(x, b1, acc[r][1]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    Simd::store(slot + r * panel, acc[r][0]);
    Simd::store(slot + r * panel + width, acc[r][1]);
  }
}

using Chain = void (*)(const float*, const float*, std::int64_t, float*);
template <std::int64_t stride>
constexpr Chain chains[] = {nullptr,          chain<1, stride>,  chain<2, stride>,  chain<3, stride>,  chain<4, stride>,
                            chain<5, stride>, chain<6, stride>,  chain<7, stride>,  chain<8, stride>,  chain<9, stride>,
                            chain<10, stride>, chain<11, stride>, chain<12, stride>, chain<13, stride>, chain<14, stride>};

/// Bias, activation, and the way out to c.
TENON_INLINE void store_tile(const GemmGeometry& g, const Call& call, const float* slot, std::int64_t row, std::int64_t rows, std::int64_t column) {
  float* c = output<float>(call, 0);
  const float* bias = g.bias ? input<float>(call, 2) + column : nullptr;
  const std::int64_t columns = smaller(panel, g.n - column);
  pointwise::with_unary<Simd>(g.activation, g.alpha, 0.f, [&](const auto& f) {
    for (std::int64_t r = 0; r < rows; ++r)
      for_each_lanes(columns, [&](std::int64_t j, auto lanes) {
        Vf z = lanes.load(slot + r * panel + j);
        if (bias != nullptr) z += lanes.load(bias + j);
        lanes.store(c + (row + r) * g.n + column + j, f.value(z));
      });
  });
}

/// One chunk of one tile: the chain, then its place in the pair tree; the last chunk's sum goes out.
TENON_INLINE void run_tile(const GemmGeometry& g, const Call& call, const Tiling& t, float* work, std::int64_t tile, std::int64_t p, std::int64_t chunk) {
  const std::int64_t row = tile_begin(g, t.tiles, tile), rows = tile_begin(g, t.tiles, tile + 1) - row;
  const std::int64_t k0 = chunk * order::k_chunk, k1 = smaller(g.k, k0 + order::k_chunk);
  const std::int64_t size = rows * panel;
  float local[tile_rows * panel];
  float* stack = t.chunks == 1 ? local : work + g.stack_at + (row * t.panels + p * rows) * panel * t.depth;
  // The height of the stack before chunk i is the number of ones in i.
  int height = __builtin_popcountll(static_cast<unsigned long long>(chunk));
  const float* b = work + g.b_at + p * g.k * panel + k0 * panel;
  const float* a = work + g.a_at + (g.a_stride == 0 ? row * g.k + k0 * rows : (chunk * g.m + row) * g.a_stride);
  const Chain run = g.a_stride == 0 ? chains<0>[rows] : g.a_stride == gemm_short_stride ? chains<gemm_short_stride>[rows] : chains<gemm_stride>[rows];
  run(a, b, k1 - k0, stack + height * size);
  const auto join = [&](int below, int top) {
    for (std::int64_t i = 0; i < size; i += width)
      Simd::store(stack + below * size + i, Simd::load(stack + below * size + i) + Simd::load(stack + top * size + i));
  };
  height = order::tree_push(chunk, height, join);
  if (chunk + 1 < t.chunks) return;
  order::tree_finish(height, join);
  store_tile(g, call, stack, row, rows, p * panel);
}

void product(const GemmGeometry& g, const Call& call, const float* a, const float* b, float* work, int thread, int threads) {
  const Tiling t = tiling(g);
  const bool by_rows = t.tiles >= t.panels;
  const auto share = [&](std::int64_t items, int i) { return items * i / threads; };
  const auto pack_tile = [&](std::int64_t i, std::int64_t k0, std::int64_t k1) {
    const std::int64_t row = tile_begin(g, t.tiles, i), rows = tile_begin(g, t.tiles, i + 1) - row;
    pack_a(g, a, row, rows, k0, k1, work);
  };
  const auto pack_panel = [&](std::int64_t p, std::int64_t k0, std::int64_t k1) {
    pack_b(g, b, p * panel, k0, k1, work + g.b_at + p * g.k * panel);
  };
  // What everybody reads: shared out along k, so that few tiles or panels still occupy all threads.
  const std::int64_t k_begin = share(g.k, thread), k_end = share(g.k, thread + 1);
  for (std::int64_t i = 0; i < (by_rows ? t.panels : t.tiles); ++i) by_rows ? pack_panel(i, k_begin, k_end) : pack_tile(i, k_begin, k_end);
#pragma omp barrier
  const std::int64_t tile0 = by_rows ? share(t.tiles, thread) : 0, tile1 = by_rows ? share(t.tiles, thread + 1) : t.tiles;
  const std::int64_t panel0 = by_rows ? 0 : share(t.panels, thread), panel1 = by_rows ? t.panels : share(t.panels, thread + 1);
  for (std::int64_t chunk = 0; chunk < t.chunks; ++chunk) {
    const std::int64_t k0 = chunk * order::k_chunk, k1 = smaller(g.k, k0 + order::k_chunk);
    if (by_rows) {
      for (std::int64_t i = tile0; i < tile1; ++i) {
        pack_tile(i, k0, k1);
        for (std::int64_t p = panel0; p < panel1; ++p) run_tile(g, call, t, work, i, p, chunk);
      }
    } else {
      for (std::int64_t p = panel0; p < panel1; ++p) {
        pack_panel(p, k0, k1);
        for (std::int64_t i = tile0; i < tile1; ++i) run_tile(g, call, t, work, i, p, chunk);
      }
    }
  }
}

/// Column sums of dz: adds in chunks of k_chunk rows, pair tree.
void column_sums(const GemmGeometry& g, const float* dz, float* to, float* stack) {
  const std::int64_t chunks = order::chunks(g.dz_rows, order::k_chunk), n = g.dz_cols;
  const auto join = [&](int below, int top) {
    for (std::int64_t j = 0; j < n; ++j) stack[below * n + j] += stack[top * n + j];
  };
  int height = 0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    float* acc = stack + height * n;
    for (std::int64_t j = 0; j < n; ++j) acc[j] = 0.f;
    for (std::int64_t i = c * order::k_chunk; i < smaller(g.dz_rows, (c + 1) * order::k_chunk); ++i)
      for_each_lanes(n, [&](std::int64_t j, auto lanes) { lanes.store(acc + j, lanes.load(acc + j) + lanes.load(dz + i * n + j)); });
    height = order::tree_push(c, height, join);
  }
  order::tree_finish(height, join);
  for (std::int64_t j = 0; j < n; ++j) to[j] = stack[j];
}

}  // namespace

void gemm(const Call& call) {
  const auto& g = geometry<GemmGeometry>(call);
  auto* work = static_cast<float*>(call.workspace);
  const float* gy = input<float>(call, 0);
  const std::int64_t dz_count = g.dz_rows * g.dz_cols;
  const auto most = static_cast<std::int32_t>(smaller(call.threads, most_threads));
  const std::int32_t threads = g.m * g.n * g.k < 65536 ? 1 : most;
  if (g.prologue.any) {
    parallel_ranges(threads_for(call, dz_count), dz_count, [&](std::int64_t begin, std::int64_t end) {
      const auto* saved = static_cast<const char*>(call.in[2]) + begin * (g.prologue.mask ? 1 : 4);
      undo_epilogue(g.prologue, gy + begin, saved, work + g.dz_at + begin, end - begin);
    });
    gy = work + g.dz_at;
  }
  const float* a = g.prologue.any && g.a_in == 0 ? gy : input<float>(call, g.a_in);
  const float* b = g.prologue.any && g.b_in == 0 ? gy : input<float>(call, g.b_in);
  if (g.bias_grad) column_sums(g, gy, output<float>(call, 1), work + g.sums_at);
#pragma omp parallel num_threads(threads) if (threads > 1)
  product(g, call, a, b, work, omp_get_thread_num(), omp_get_num_threads());
  if (!g.mask) return;
  float* c = output<float>(call, 0);
  auto* mask = output<std::uint8_t>(call, 1);
  parallel_ranges(threads_for(call, g.m * g.n), g.m * g.n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) mask[i] = 0;
    finish_masked(c + begin, mask + begin, begin, end - begin, g.activation == op::UnaryFn::relu, g.dropout, g.site, *call.control);
  });
}

}  // namespace tenon::cpu::TENON_ISA
