// What a matrix product is but for its inner loop: c (m,n) = epilogue(sum over k of a(i,k) b(k,j)), shared out to
// threads, in blocks that stay in L2; matmul and both its gradients.
// Parallel, with nothing packed by one thread and read by another, in pieces that a late thread gives away (shares.hpp):
//   by regions   c is cut into a grid of rows and columns, one cell a thread, and cells into pieces.
//   by chunks    a small c with a long k: a thread takes tiles of some chunks of k; only chunk sums cross.
// Order: chunks of order::k_chunk terms, whose sums join by the pair tree: bits depend on neither tiles nor threads.
//
// The inner loop is a `Form`: slots of slot_floats floats, `panel` to a row; how many panels a single tile takes at once
// (`batch`; several tiles of g.tile_block need a slot each, or, where batch is 0, one for each of their panels, because
// sums pause there); up to how many terms a sum is whole at once, so that one slot does (`whole_terms`); threads' columns
// in multiples of column_step; what a thread holds meanwhile (Scope); whether c may be turned; the least rows and columns
// that are worth a piece; and
//   tiles_of(rows)   tiles of rows: `count`, begin(t)
//   multiply(work, tiles, which, columns, terms, slot, done)   one chunk of tiles x columns (at most g.column_block): sums
//                    into slot(tile, panel), then done(tile, panel, rows, columns).
#pragma once
#include <omp.h>

#include "kernels/common/order.hpp"
#include "kernels/cpu/micro/prologue.hpp"
#include "kernels/cpu/micro/store_out.hpp"
#include "kernels/cpu/micro/transpose.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// What of a and b a thread has packed last: neighbouring pieces share it.
class Packed {
 public:
  TENON_MEMBER bool needs_a(Range rows, Range terms) { return changes(a_, rows, terms); }
  TENON_MEMBER bool needs_b(Range columns, Range terms) { return changes(b_, columns, terms); }

 private:
  struct Block {
    Range across{-1, -1}, terms{-1, -1};
  };
  TENON_MEMBER static bool changes(Block& block, Range across, Range terms) {
    if (block.across == across && block.terms == terms) return false;
    block = {across, terms};
    return true;
  }
  Block a_, b_;
};

struct Work {
  const GemmGeometry& g;
  const Call& call;
  const float* a;
  const float* b;
  float* shared;
  float* own;    // this thread's blocks,
  Packed& held;  // and what lies there
};

/// Asks for the lines of c that a block will write: its rows are far apart, and no hardware guesses them.
TENON_INLINE void fetch_results(const Work& w, Range rows, Range columns) {
  const float* c = output<float>(w.call, 0) + columns.begin;
  for (std::int64_t r = rows.begin; r < rows.end; ++r)
    for (std::int64_t j = 0; j < columns.size(); j += 16) __builtin_prefetch(c + r * w.g.n + j, 1);
}

/// Bias, activation, and the way out to c, from z (rows, stride).
TENON_INLINE void store_rows(const Work& w, const float* z, std::int64_t stride, Range rows, Range columns,
                             std::int64_t row_length) {
  float* c = output<float>(w.call, 0);
  const float* bias = w.g.bias ? input<float>(w.call, 2) + columns.begin : nullptr;
  pointwise::with_unary<Simd>(w.g.activation, w.g.alpha, 0.f, [&](const auto& f) {
    store_pixels(z, stride, rows.size(), columns.size(), c + rows.begin * row_length + columns.begin, row_length, bias,
                 false, f);
  });
}
/// A slot, (rows, Form::panel), as it is or turned.
template <class Form>
TENON_INLINE void store_slot(const Work& w, const float* slot, Range rows, Range columns) {
  if (!Form::turns || !w.g.turned) return store_rows(w, slot, Form::panel, rows, columns, w.g.n);
  constexpr int across = Form::panel, height = (Form::slot_floats / across + width - 1) / width * width;
  float z[across * height];
  for (int r = 0; r < height; r += width)
    for (int j = 0; j < across; j += width)
      if (r < rows.size())
        transpose_square(slot + r * across + j, across, smaller(rows.size() - r, width), z + j * height + r, height);
  store_rows(w, z, height, columns, rows, w.g.m);
}

TENON_INLINE Range terms_of(const GemmGeometry& g, std::int64_t chunk) {
  return {chunk * order::k_chunk, smaller(g.k, (chunk + 1) * order::k_chunk)};
}

/// What follows a block of c that is whole.
TENON_INLINE void finish(const Work& w, Range rows, Range columns) {
  const Finish* next = w.call.finish;
  if (next == nullptr) return;
  const Range lines = w.g.turned ? columns : rows, across = w.g.turned ? rows : columns;
  const std::int64_t length = w.g.turned ? w.g.m : w.g.n;
  if (across.size() == length) return next->run(*next, lines.begin * length, lines.size() * length);
  for (std::int64_t i = lines.begin; i < lines.end; ++i) next->run(*next, i * length + across.begin, across.size());
}

/// A piece of c, all of k: blocks of columns, blocks of rows, chunks. Entry e of the pair tree of a tile is e * entry
/// behind.
template <class Form>
void region(const Work& w, Range rows, Range columns) {
  const GemmGeometry& g = w.g;
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk);
  for (std::int64_t c0 = columns.begin; c0 < columns.end; c0 += g.column_block) {
    const Range block{c0, smaller(c0 + g.column_block, columns.end)};
    const std::int64_t panels = blocks_of(block.size(), Form::panel);
    for (std::int64_t r0 = rows.begin; r0 < rows.end; r0 += g.row_block) {
      const auto tiles = Form::tiles_of({r0, smaller(r0 + g.row_block, rows.end)});
      if (chunks == 1) {
        // A form that takes panels in batches does so for a single tile; several tiles take one panel at a time.
        const auto slot = [&](std::int64_t t, std::int64_t p) {
          const std::int64_t i = g.k <= Form::whole_terms ? 0
                                 : Form::batch == 0       ? t % g.tile_block * panels + p
                                 : tiles.count == 1       ? p % Form::batch
                                                          : t % g.tile_block;
          return w.own + g.stack_at + i * Form::slot_floats;
        };
        Form::multiply(
            w, tiles, {0, tiles.count}, block, {0, g.k}, slot,
            [&](std::int64_t t, std::int64_t p, Range r, Range c) { store_slot<Form>(w, slot(t, p), r, c); });
        continue;
      }
      const std::int64_t entry = tiles.count * panels * Form::slot_floats;
      const auto at = [&](std::int64_t t, std::int64_t p) {
        return w.own + g.stack_at + (t * panels + p) * Form::slot_floats;
      };
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
        // The height of the stack before chunk i is the number of ones in i.
        const int height = __builtin_popcountll(static_cast<unsigned long long>(chunk));
        Form::multiply(
            w, tiles, {0, tiles.count}, block, terms_of(g, chunk),
            [&](std::int64_t t, std::int64_t p) { return at(t, p) + height * entry; },
            [&](std::int64_t t, std::int64_t p, Range r, Range c) {
              float* stack = at(t, p);
              const auto join = [&](int below, int top) {
                add_floats(stack + below * entry, stack + top * entry, Form::slot_floats);
              };
              const int left = order::tree_push(chunk, height, join);
              if (chunk + 1 < chunks) return;
              order::tree_finish(left, join);
              store_slot<Form>(w, stack, r, c);
            });
      }
    }
  }
}

/// Tiles of c, all of it, that a thread takes at a time in one chunk: some where b stays packed, or is not, from one turn to
/// the next.
template <class Form>
TENON_INLINE std::int64_t tiles_together(const GemmGeometry& g, std::int64_t threads) {
  const std::int64_t tiles = Form::tiles_of({0, g.m}).count;
  const std::int64_t turns = threads * (g.n <= g.column_block || g.b_in_place ? 8 : 1);
  std::int64_t parts = 1;
  while (parts < tiles && order::chunks(g.k, order::k_chunk) * parts < turns) ++parts;
  return threads == 1 ? tiles : blocks_of(tiles, parts);
}

/// Some tiles of a chunk at a time; then the sums of every tile join.
template <class Form>
void by_chunks(const Work& w, std::int64_t thread, std::int64_t threads, std::int64_t together, Shares& shares) {
  const GemmGeometry& g = w.g;
  const auto tiles = Form::tiles_of({0, g.m});
  const std::int64_t chunks = order::chunks(g.k, order::k_chunk), panels = blocks_of(g.n, Form::panel),
                     entry = tiles.count * panels * Form::slot_floats, pieces = blocks_of(tiles.count, together);
  float* slots = w.shared + g.slots_at;
  for (Range item{}; shares.take(thread, item);) {
    const std::int64_t chunk = item.begin / pieces;
    const Range which = part(tiles.count, item.begin % pieces, pieces);
    for (std::int64_t c0 = 0; c0 < g.n; c0 += g.column_block)
      Form::multiply(
          w, tiles, which, {c0, smaller(c0 + g.column_block, g.n)}, terms_of(g, chunk),
          [&](std::int64_t t, std::int64_t p) {
            return slots + chunk * entry + (t * panels + c0 / Form::panel + p) * Form::slot_floats;
          },
          [](std::int64_t, std::int64_t, Range, Range) {});
  }
#pragma omp barrier
  const Range owned = part(tiles.count * panels, thread, threads);
  for (std::int64_t i = owned.begin; i < owned.end; ++i) {
    float* sums = slots + i * Form::slot_floats;
    for (std::int64_t distance = 1; distance < chunks; distance *= 2)
      for (std::int64_t c = 0; c + distance < chunks; c += 2 * distance)
        add_floats(sums + c * entry, sums + (c + distance) * entry, Form::slot_floats);
    const std::int64_t t = i / panels, p = i % panels;
    const Range rows{tiles.begin(t), tiles.begin(t + 1)}, columns{p * Form::panel, smaller((p + 1) * Form::panel, g.n)};
    store_slot<Form>(w, sums, rows, columns);
    finish(w, rows, columns);
  }
}

/// How c is shared out: a grid of cells, one to a thread, each in pieces of rows or columns.
struct Grid {
  std::int64_t across, down, step;  // cells; columns are counted in steps
  bool along_columns;
  std::int64_t piece, pieces;  // rows or columns of a piece, pieces of a cell

  TENON_MEMBER std::int64_t items() const { return across * down * pieces; }
  /// Rows and columns of an item; none at the end of a cell that is smaller than others.
  TENON_MEMBER void place(const GemmGeometry& g, std::int64_t item, Range& rows, Range& columns) const {
    const std::int64_t cell = item / pieces;
    rows = part(g.m, cell / across, down);
    columns = part(blocks_of(g.n, step), cell % across, across);
    columns = {columns.begin * step, smaller(columns.end * step, g.n)};
    Range& cut = along_columns ? columns : rows;
    const std::int64_t begin = cut.begin + item % pieces * piece;
    cut = {smaller(begin, cut.end), smaller(begin + piece, cut.end)};
  }
};

/// Columns of a thread grid: as many as cost the least, counting what every thread multiplies and packs.
TENON_INLINE std::int64_t grid_columns(const GemmGeometry& g, std::int64_t threads, std::int64_t step) {
  std::int64_t best = 1, least = -1;
  for (std::int64_t across = 1; across <= threads; ++across) {
    if (threads % across != 0) continue;
    const std::int64_t rows = blocks_of(g.m, threads / across),
                       columns = blocks_of(blocks_of(g.n, step), across) * step;
    const std::int64_t cost =
        rows * columns + 8 * (columns + rows);  // packing an element takes about as long as 8 FMAs
    if (least < 0 || cost < least) {
      least = cost;
      best = across;
    }
  }
  return best;
}

/// Cells are cut where that packs nothing twice: a stays packed from one piece of columns to the next where all rows of a
/// cell are one block, b from one piece of rows to the next where all its columns are. What is small is not cut.
template <class Form>
TENON_INLINE Grid grid_of(const GemmGeometry& g, std::int64_t threads, bool finishes) {
  constexpr std::int64_t followed = 8192;  // results that what follows finds in L2, and that are worth its call
  constexpr std::int64_t most_pieces = 16, small = std::int64_t{1} << 21, step = Form::column_step;
  const std::int64_t across = grid_columns(g, threads, step), down = threads / across, rows = blocks_of(g.m, down),
                     columns = blocks_of(blocks_of(g.n, step), across) * step;
  const bool one_chunk = g.k <= order::k_chunk, all_rows = Form::tiles_of({0, rows}).count <= g.tile_block;
  const bool along_columns = columns > g.column_block || (one_chunk && all_rows && !finishes);
  const std::int64_t extent = larger(along_columns ? columns : rows, 1);
  const std::int64_t least = along_columns ? (columns > g.column_block ? g.column_block : Form::least_columns(rows))
                             : one_chunk   ? Form::least_rows
                                           : g.row_block;
  std::int64_t piece = blocks_of(blocks_of(extent, most_pieces), least) * least;
  if (finishes && !along_columns && one_chunk)
    piece = blocks_of(larger(followed / larger(columns, 1), 1), least) * least;
  else if (threads == 1 || g.m * g.n * g.k < small)
    piece = extent;
  return {across, down, step, along_columns, piece, blocks_of(extent, piece)};
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

template <class Form>
void run_gemm(const Call& call) {
  const auto& g = geometry<GemmGeometry>(call);
  auto* work = static_cast<float*>(call.workspace);
  const float* gy = input<float>(call, 0);
  // Below this a second thread costs more than it takes over.
  const auto threads = static_cast<std::int32_t>(g.m * g.n * g.k < 262144 ? 1 : smaller(call.threads, g.threads));
  const Grid grid = grid_of<Form>(g, threads, call.finish != nullptr);
  const std::int64_t together = tiles_together<Form>(g, threads);
  Shares shares(threads, g.by_chunks
                             ? order::chunks(g.k, order::k_chunk) * blocks_of(Form::tiles_of({0, g.m}).count, together)
                             : grid.items());
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
    Packed held;
    const Work w{g,
                 call,
                 g.a_in == 0 ? dz : input<float>(call, g.a_in),
                 g.b_in == 0 ? dz : input<float>(call, g.b_in),
                 work,
                 work + g.own_at + thread * g.own_each,
                 held};
    [[maybe_unused]] const typename Form::Scope scope;
    if (g.by_chunks) {
      by_chunks<Form>(w, thread, team, together, shares);
    } else {
      for (Range item{}, rows{}, columns{}; shares.take(thread, item);) {
        grid.place(g, item.begin, rows, columns);
        if (rows.size() <= 0 || columns.size() <= 0) continue;
        region<Form>(w, rows, columns);
        finish(w, rows, columns);
      }
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

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
