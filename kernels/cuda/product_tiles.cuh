// Dense layers' products on tensor cores: c = a b with the epilogue of matmul, and the gradients, one of whose operands is dz. For products
// that are small, or narrow, or both: what they take is not arithmetic but the time until operands are there. Rows of the classes
// `tf32`, `bf16` and `fp16`; large products go through contraction_mma.cuh (product_plan.hpp decides).
//
// Parallelisation. A block has a tile of c for one part of the terms. Its operands come by cp.async, several stages at a time
// (product_stage.cuh). Either all warps share a stage, and each has its 32 x 32 sums; or each warp has stages of its own, every so many
// panels of 16 terms, and sums of the whole tile, so that nobody waits for another warp until the sums are added, in the order of
// the warps. dz is undone where it lies, by the thread that copied it, and a block of the first tile of rows (or of columns) adds it up
// for the bias on the way, in fp32. Sums of parts go to memory, and a second launch joins them. Nothing depends on the order of
// blocks: results are the same in every run.
//
// Sums. Of every 32 rows, lane (g, t) of a warp has first(g) .. first(g) + 3, and of every 32 columns 4 t .. 4 t + 3 and 16 more:
// quads for the epilogue, and neighbouring lanes write neighbours.
//
// Error: products (1 + u)^2 - 1 with u = 2^-11 (tf32, fp16) or 2^-8, of fp16 also 2^-25 of either factor where the other is below
// 2^-14; sums as those of fp32 in any order. The bias gradient: that of sums in fp32.
#pragma once
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/product_plan.hpp"
#include "kernels/cuda/product_stage.cuh"

namespace tenon::cuda {

/// Sizes of a block's tile and of a warp's part of it. `split` warps share the terms of a stage, or, where each warp has its `own`
/// stages, those of the block. `stages` of them are there at most, all but one under way.
template <class Format_, int size_, int warp_size_, int split_, bool own_, int stages_, int blocks_>
struct ProductTile {
  using Format = Format_;
  static constexpr int size = size_, warp_size = warp_size_, split = split_, stages = stages_, blocks = blocks_;
  static constexpr bool own = own_;
  static constexpr int across = size / warp_size, warps = across * across * split, threads = warps * 32;
  static constexpr int team = own ? 32 : threads;  // threads that share a stage
  static constexpr int depth = own ? 16 : 32;      // terms of a stage
  static constexpr int turns = own ? 1 : depth / 16 / split;
  static constexpr int step = own ? depth * split : depth;  // terms of all stages of one number
  using Stage = RawStage<size, warp_size, depth>;
  static constexpr int share_pitch = size + 4, share = size * share_pitch;  // sums in shared memory
  static_assert(!own || across == 1);
  static_assert(!own || share <= 2 * Stage::size);  // they take the place of the warp's first stage
};
/// Those to choose from. A stage of a gradient has saved values in it, so that there is room for fewer of them in 99 KiB.
template <class Format, bool gradient>
struct ProductTileSizes {
  using Wide = ProductTile<Format, 64, 32, 1, false, gradient ? 3 : 4, gradient ? 3 : 2>;
  using Deep = ProductTile<Format, 64, 32, 2, false, gradient ? 3 : 5, 1>;
  using Middle = ProductTile<Format, 32, 32, 4, true, gradient ? 3 : 4, 3>;
  using Small = ProductTile<Format, 16, 16, 8, true, gradient ? 3 : 4, 2>;
};

/// What a launch knows besides the view. Counts of shared memory in words.
struct ProductRun {
  int row_tiles, part_terms;
  int ring, stage;  // stages, and words of one
  int bias_at;      // where the sums of the bias begin
  bool a_by_lines, bias;
  float* partial;  // sums of the parts; null: there is one
};

struct RawMemory {
  Shared<float, 4> words;  // of as many as the launch says
};

template <GradientOperand dz>
__device__ RawSource source_a(const ProductView<dz>& v, const ProductRun& run, std::int64_t first, int size) {
  const float* data = dz == GradientOperand::a ? v.undo.gy : v.a_data;
  const bool fours = v.a_reading == Reading::four_lines || v.a_reading == Reading::four_terms;
  const std::int64_t left = v.g.m - first;
  return {data + first * v.g.a_row, v.g.a_row, v.g.a_col, left < size ? static_cast<int>(left) : size,
          run.a_by_lines,           fours};
}
template <GradientOperand dz>
__device__ RawSource source_b(const ProductView<dz>& v, std::int64_t first, int size) {
  const float* data = dz == GradientOperand::b ? v.undo.gy : v.b_data;
  const bool fours = v.b_reading == Reading::four_lines || v.b_reading == Reading::four_terms;
  const std::int64_t left = v.g.n - first;
  return {data + first * v.g.b_col, v.g.b_col, v.g.b_row, left < size ? static_cast<int>(left) : size,
          v.g.b_col == 1,           fours};
}
__device__ inline RawSaved saved_of(const Undo& undo, std::int64_t first) {
  return {undo.saved != nullptr,
          undo.saved != nullptr && undo.mask,
          undo.activation,
          undo.alpha,
          undo.scale,
          static_cast<const float*>(undo.saved) + first,
          static_cast<const std::uint8_t*>(undo.saved) + first};
}

/// What the end of a product reads is read at its beginning: what dropout draws from, and the bias, which the sums have then.
template <class View>
__device__ Control read_control(const View& view) {
  Control c{};
  if (view.epilogue.dropout != 0.f) {
    c.seed = view.epilogue.control->seed;
    c.epoch = view.epilogue.control->epoch;
    c.step = view.epilogue.control->step;
  }
  return c;
}
template <class View>
__device__ Epilogue tail_of(const View& view, const Control& control) {
  Epilogue e = view.epilogue;
  e.control = &control;
  e.bias = nullptr;
  return e;
}
template <class View>
__device__ void read_bias(const View& view, std::int64_t column, float v[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    v[j] = view.epilogue.bias != nullptr && column + j < view.g.n ? view.epilogue.bias[column + j] : 0.f;
}
/// Four neighbouring sums are complete.
template <GradientOperand dz>
__device__ void finish_product_line(const ProductView<dz>& view, const Epilogue& tail, const float bias[4],
                                    std::int64_t row, std::int64_t column, float v[4]) {
  if (row >= view.g.m || column >= view.g.n) return;
  if constexpr (dz == GradientOperand::none) {
    if (view.epilogue.bias != nullptr) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] += bias[j];
    }
    tail.finish_row(row, column, view.g.n, v);
  } else {
    write_four(view.y, row * view.g.n + column, v, view.g.n - column);
  }
}

/// A warp's sums += the products of a panel.
template <class T>
__device__ __forceinline__ void multiply_panel(const float* stage, const RawSource& a, const RawSource& b, int row,
                                               int column, int panel, int lane,
                                               float sums[T::warp_size / 16][T::warp_size / 8][4]) {
  using Format = typename T::Format;
  using Stage = typename T::Stage;
  constexpr int words = 4 / Format::terms;
  unsigned wa[Stage::mine][words], wb[Stage::mine][words];
  load_words<Format, Stage>(stage, a.by_lines, row, panel, lane, wa);
  load_words<Format, Stage>(stage + Stage::size, b.by_lines, column, panel, lane, wb);
#pragma unroll
  for (int s = 0; s < words; s += 2)
#pragma unroll
    for (int i = 0; i < T::warp_size / 16; ++i) {
      const unsigned fragment[4] = {wa[2 * i][s], wa[2 * i + 1][s], wa[2 * i][s + 1], wa[2 * i + 1][s + 1]};
#pragma unroll
      for (int j = 0; j < T::warp_size / 8; ++j) Format::multiply(sums[i][j], fragment, wb[j] + s);
    }
}

/// A warp's sums to shared memory, row by row.
template <class T>
__device__ void store_sums(float* to, int lane, const float sums[T::warp_size / 16][T::warp_size / 8][4]) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < T::warp_size / 16; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float* const row = to + (T::Stage::first(g) + 2 * i + h) * T::share_pitch + 4 * t;
      const auto& s = sums[i];
      if constexpr (T::warp_size == 32) {
#pragma unroll
        for (int e = 0; e < 2; ++e)
          store_4(row + 16 * e, make_float4(s[0][2 * h + e], s[1][2 * h + e], s[2][2 * h + e], s[3][2 * h + e]));
      } else {
        store_4(row, make_float4(s[0][2 * h], s[1][2 * h], s[0][2 * h + 1], s[1][2 * h + 1]));
      }
    }
}

template <class T, GradientOperand dz>
__global__ void __launch_bounds__(T::threads, T::blocks) multiply_tiles(ProductView<dz> view, ProductRun run) {
  using Stage = typename T::Stage;
  constexpr bool undo_a = dz == GradientOperand::a;
  float* const memory = shared_storage<RawMemory>().words.at(0);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_number = thread / 32;
  const int part = warp_number % (T::across * T::across), share = warp_number / (T::across * T::across);
  const int mate = T::own ? lane : thread;  // in the team
  float* const ring = memory + (T::own ? warp_number * run.ring * run.stage : 0);
  const int row_tile = static_cast<int>(blockIdx.x % static_cast<unsigned>(run.row_tiles));
  const int column_tile = static_cast<int>(blockIdx.x / static_cast<unsigned>(run.row_tiles));
  const std::int64_t row0 = std::int64_t{row_tile} * T::size, column0 = std::int64_t{column_tile} * T::size;
  const int first = static_cast<int>(blockIdx.y) * run.part_terms;
  const auto terms = static_cast<int>(view.g.k);
  const int last = terms - first < run.part_terms ? terms : first + run.part_terms;
  const int my_row = part / T::across * T::warp_size, my_column = part % T::across * T::warp_size;

  // Where the sums of this thread will end.
  constexpr int line_quads = T::size / 4, quad_rows = T::threads / line_quads;
  const int end_row = thread / line_quads, end_column = thread % line_quads * 4;
  const Control control = read_control(view);
  const Epilogue tail = tail_of(view, control);
  float bias[2][4] = {};
  if constexpr (dz == GradientOperand::none) {
    if constexpr (T::split == 1) {
      read_bias(view, column0 + my_column + lane % 4 * 4, bias[0]);
      read_bias(view, column0 + my_column + lane % 4 * 4 + 16, bias[1]);
    } else if (run.partial == nullptr) {
      read_bias(view, column0 + end_column, bias[0]);
    }
  }

  const RawSource a = source_a(view, run, row0, T::size), b = source_b(view, column0, T::size);
  const RawSource& gradient = undo_a ? a : b;
  const RawSaved saved = saved_of(view.undo, undo_a ? row0 * view.g.a_row : column0 * view.g.b_col);
  const bool adds_bias = dz != GradientOperand::none && run.bias && (undo_a ? column_tile : row_tile) == 0;
  const auto begin_of = [&](int i) { return first + i * T::step + (T::own ? share * T::depth : 0); };
  const auto copy = [&](int i, int stage) {
    float* const to = ring + stage * run.stage;
    copy_raw<Stage, T::team>(a, to, mate, begin_of(i), last);
    copy_raw<Stage, T::team>(b, to + Stage::size, mate, begin_of(i), last);
    if constexpr (dz != GradientOperand::none) {
      if (saved.any) copy_saved<Stage, T::team>(gradient, saved, to + 2 * Stage::size, mate, begin_of(i), last);
    }
  };
  // Stages of this team: those whose first term there is.
  const int left = last - begin_of(0), count = left > 0 ? (left + T::step - 1) / T::step : 0;

  float sums[T::warp_size / 16][T::warp_size / 8][4] = {};
  float bias_sums[4] = {};
#pragma unroll 1
  for (int i = 0; i < T::stages - 1; ++i) {
    if (i < count) copy(i, i);
    cp_async_commit();
  }
  int stage = 0, next = T::stages - 1;
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    float* const here = ring + stage * run.stage;
    cp_async_wait<T::stages - 2>();
    if constexpr (dz != GradientOperand::none) {
      if (saved.any || adds_bias)
        undo_raw<Stage, T::team>(gradient, saved, here + (undo_a ? 0 : Stage::size), here + 2 * Stage::size, mate,
                                 begin_of(i), last, bias_sums);
    }
    // This stage is there. And all are done with the one before, whose place the next copies take.
    if constexpr (T::own)
      __syncwarp();
    else
      __syncthreads();
    if (i + T::stages - 1 < count) copy(i + T::stages - 1, next);
    cp_async_commit();
#pragma unroll
    for (int turn = 0; turn < T::turns; ++turn)
      multiply_panel<T>(here, a, b, my_row, my_column, T::own ? 0 : turn * T::split + share, lane, sums);
    next = stage;
    stage = stage + 1 == T::stages ? 0 : stage + 1;
  }

  // Sums meet in shared memory: those of the warps where the stages were, those of the bias behind them.
  float* const my_sums = T::own ? ring : memory + share * T::share;
  if constexpr (T::split > 1) {
    if constexpr (T::own)
      __syncwarp();
    else
      __syncthreads();
    store_sums<T>(my_sums + my_row * T::share_pitch + my_column, lane, sums);
  }
  // Of the bias, threads that are so many apart have the same lines, fours or single ones.
  const int apart = gradient.fours ? T::size / 4 : T::size;
  if (adds_bias) {
    for (int d = apart; d < 32; d *= 2)
#pragma unroll
      for (int j = 0; j < 4; ++j) bias_sums[j] += __shfl_xor_sync(whole_warp, bias_sums[j], d);
    float* const to = memory + run.bias_at + warp_number * T::size;
    if (lane < apart && gradient.fours)
      store_4(to + lane * 4, make_float4(bias_sums[0], bias_sums[1], bias_sums[2], bias_sums[3]));
    else if (lane < apart)
      store_1(to + thread % apart, bias_sums[0]);
  }
  if (T::split > 1 || adds_bias) __syncthreads();
  const std::int64_t part_number = blockIdx.y, parts = gridDim.y;
  if (adds_bias && thread < gradient.lines) {
    float total = 0.f;
#pragma unroll
    for (int w = 0; w < T::warps; ++w)
      if (apart <= 32 || w % (T::size / 32 > 0 ? T::size / 32 : 1) == thread / 32)
        total += load_1(memory + run.bias_at + w * T::size + thread);
    const std::int64_t line = (undo_a ? row0 : column0) + thread, lines = undo_a ? view.g.m : view.g.n;
    if (run.partial == nullptr)
      view.gbias[line] = total;
    else
      run.partial[parts * view.g.m * view.g.n + part_number * lines + line] = total;
  }

  if constexpr (T::split == 1) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      Quad z;
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int j = 0; j < 4; ++j) z.sum[r][j] = sums[r / 2][j][r % 2 * 2 + e];
      const std::int64_t row = row0 + my_row + Stage::first(lane / 4);
      const std::int64_t column = column0 + my_column + lane % 4 * 4 + 16 * e;
      if constexpr (dz == GradientOperand::none) {
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            if (view.epilogue.bias != nullptr) z.sum[r][j] += bias[e][j];
        if (column < view.g.n) tail.finish(row, view.g.m, column, view.g.n, z);
      } else {
#pragma unroll
        for (int r = 0; r < 4; ++r) finish_product_line(view, tail, bias[e], row + r, column, z.sum[r]);
      }
    }
  } else {
#pragma unroll
    for (int r = end_row; r < T::size; r += quad_rows) {
      const float* const from = memory + r * T::share_pitch + end_column;
      float v[4] = {};
#pragma unroll
      for (int s = 0; s < T::split; ++s) {
        const float4 q = load_4(from + s * (T::own ? run.ring * run.stage : T::share));
        v[0] += q.x, v[1] += q.y, v[2] += q.z, v[3] += q.w;
      }
      const std::int64_t row = row0 + r, column = column0 + end_column;
      if (run.partial == nullptr)
        finish_product_line(view, tail, bias[0], row, column, v);
      else if (row < view.g.m && column < view.g.n)
        write_four(run.partial, (part_number * view.g.m + row) * view.g.n + column, v, view.g.n - column);
    }
  }
}

/// Adds up the sums of the parts. Eight neighbouring lanes have eight neighbouring fours of a row (at the end, of the bias gradient), and
/// four such groups of a warp share their parts.
inline constexpr int join_threads = 128;
template <GradientOperand dz>
__global__ void __launch_bounds__(join_threads)
    join_parts(ProductView<dz> view, std::int64_t parts, std::int64_t lines, const float* partial) {
  constexpr int together = 8, shares = 4;
  const int lane = static_cast<int>(threadIdx.x % warp), share = lane / 8;
  const auto across = static_cast<unsigned>((view.g.n + 3) / 4);
  const std::int64_t sums = view.g.m * view.g.n, quads = view.g.m * across;
  const std::int64_t item = global_thread() / warp * 8 + lane % 8;
  const bool of_bias = item >= quads;
  const std::int64_t row = of_bias ? 0 : item / across;
  const std::int64_t column = (of_bias ? item - quads : item % across) * 4, end = of_bias ? lines : view.g.n;
  const std::int64_t count = end - column, stride = of_bias ? lines : sums;
  const float* const from = partial + (of_bias ? parts * sums : row * view.g.n) + column;
  const bool fours = count >= 4 && end % 4 == 0 && sums % 4 == 0;
  const Control control = read_control(view);
  const Epilogue tail = tail_of(view, control);
  float bias[4] = {};
  if constexpr (dz == GradientOperand::none) read_bias(view, column, bias);
  float total[4] = {};
  for (std::int64_t p = share; p < parts; p += together * shares) {
    float v[together][4] = {};
#pragma unroll
    for (int i = 0; i < together; ++i) {
      if (p + i * shares >= parts) continue;
      const float* const at = from + (p + i * shares) * stride;
      if (fours) {
        read_four(at, v[i]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (j < count) v[i][j] = at[j];
      }
    }
#pragma unroll
    for (int i = 0; i < together; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) total[j] += v[i][j];
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    total[j] += __shfl_xor_sync(whole_warp, total[j], 8);
    total[j] += __shfl_xor_sync(whole_warp, total[j], 16);
  }
  if (share > 0 || count <= 0) return;
  if (of_bias)
    write_four(view.gbias, column, total, count);
  else
    finish_product_line(view, tail, bias, row, column, total);
}

template <class T, GradientOperand dz>
void run_product_tile(const Call& call, const ProductView<dz>& view, const ProductPlan& plan) {
  using Stage = typename T::Stage;
  const ProductGeometry& g = view.g;
  const auto tiles = [](std::int64_t n) { return (n + T::size - 1) / T::size; };
  const bool bias = view.gbias != nullptr;
  const Reading dz_reading = dz == GradientOperand::a ? view.a_reading : view.b_reading;
  const bool dz_fours = dz_reading == Reading::four_lines || dz_reading == Reading::four_terms;
  const std::int64_t numbers = (plan.part_terms + T::step - 1) / T::step;
  ProductRun run{};
  run.row_tiles = static_cast<int>(tiles(g.m));
  run.part_terms = static_cast<int>(plan.part_terms);
  run.ring = static_cast<int>(numbers < 1 ? 1 : numbers > T::stages ? T::stages : numbers);
  run.stage = 2 * Stage::size + (dz == GradientOperand::none ? 0 : saved_words<Stage>(view.undo, dz_fours));
  run.bias_at = (T::own ? T::warps : 1) * run.ring * run.stage;
  if (!T::own && T::split > 1 && run.bias_at < T::split * T::share) run.bias_at = T::split * T::share;
  // The lines of dz are neighbours where its terms are rows, whatever its extents; then they are what a thread adds up.
  run.a_by_lines = g.a_row == 1 && (g.a_col != 1 || (bias && dz == GradientOperand::a));
  run.bias = bias;
  run.partial = plan.parts > 1 ? static_cast<float*>(call.workspace) : nullptr;
  launch(call, multiply_tiles<T, dz>,
         dim3(static_cast<unsigned>(tiles(g.m) * tiles(g.n)), static_cast<unsigned>(plan.parts)), dim3(T::threads),
         static_cast<std::size_t>(run.bias_at + (bias ? T::warps * T::size : 0)) * 4, view, run);
  if (plan.parts == 1) return;
  const std::int64_t lines = bias_lines(g), items = g.m * ((g.n + 3) / 4) + (lines + 3) / 4;
  constexpr std::int64_t of_block = join_threads / 4;
  launch(call, join_parts<dz>, dim3(static_cast<unsigned>((items + of_block - 1) / of_block)), dim3(join_threads), 0,
         view, plan.parts, lines, static_cast<const float*>(run.partial));
}

template <class Format, GradientOperand dz>
void run_product(const Call& call, const ProductView<dz>& view, const ProductPlan& plan) {
  using Sizes = ProductTileSizes<Format, dz != GradientOperand::none>;
  if (view.g.m * view.g.n == 0) return;
  switch (plan.tiles) {
    case ProductTiles::wide:
      return run_product_tile<typename Sizes::Wide>(call, view, plan);
    case ProductTiles::deep:
      return run_product_tile<typename Sizes::Deep>(call, view, plan);
    case ProductTiles::middle:
      return run_product_tile<typename Sizes::Middle>(call, view, plan);
    default:
      return run_product_tile<typename Sizes::Small>(call, view, plan);
  }
}

}  // namespace tenon::cuda
