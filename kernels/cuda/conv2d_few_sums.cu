// The filter gradient of a convolution with few channels, where no order is promised, in fp32:
//   gfilter(ky, kx, c, k) = sum over (n, oy, ox) of dz(n, oy, ox, k) x(n, oy * stride + ky * dilation - pad, ..., c)
//   gbias(k)              = sum over (n, oy, ox) of dz, in the same pass
// dz is read once, four filters by four filters, and goes from memory to registers, so that a warp reads four positions of 32 filters
// in one access; the lines of x that they see lie in shared memory. A thread has all terms of four filters, for every 32nd position of
// its block's band of an image: up to 28 * 4 sums in registers.
//
// A block has a band of the output's rows, for a few samples (few_cut). Its threads' sums meet by shuffles, then in shared memory; the
// sums of the blocks lie in the workspace, [chunk, term, filter], and a second kernel adds them up: always in the same order.
// Error: that of sums in fp32 in any order.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_few.cuh"

namespace tenon::cuda {
namespace {

constexpr int threads = FewTile::threads, quads = FewTile::filters / 4, slots = threads / quads, warps = threads / 32;

struct FewSums {
  ConvGeometry g;
  FewLines lines;
  Undo undo;
  Divider by_ow, by_bands;
  std::int32_t bands, band_rows, terms;
  std::int32_t step_y, step_x,
      step_tap;  // numbers in shared memory from a position, and from a line of taps, to the next one
  std::int64_t samples, rows;
  float *gfilter, *gbias, *partial;         // gbias may be null; partial is null where there is one chunk
  std::int32_t offset[FewTile::most_sums];  // of a term, from its window's corner; 0 behind the last one

  /// A row of sums is a term, or the bias.
  __device__ void put(std::int64_t chunk, std::int64_t row, std::int32_t k, float v) const {
    if (partial != nullptr)
      partial[(chunk * rows + row) * g.k + k] = v;
    else if (row < terms)
      gfilter[row * g.k + k] = v;
    else
      gbias[k] = v;
  }
};

template <int most>
struct FewSumsStorage {
  Shared<float, FewTile::numbers> x;
  Shared<float, warps*(most + 1) * FewTile::filters> sums;  // [warp][row][filter]
};

/// Sums of four filters over the four positions of a warp, for the lane of the first one.
__device__ void join_positions(float v[4]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    v[q] += __shfl_xor_sync(whole_warp, v[q], 8);
    v[q] += __shfl_xor_sync(whole_warp, v[q], 16);
  }
}

/// Filters of `lines` lines of taps whose terms are neighbours in `length` numbers; or of one line, of any terms up to `length`, whose offsets
/// are looked up.
template <int lines, int length, Saved saved>
__global__ void __launch_bounds__(threads, lines > 1 ? 2 : 1) few_sums(FewSums v) {
  constexpr int together = 2, most = lines * length;
  auto& shared = shared_storage<FewSumsStorage<most>>();
  const ConvGeometry& g = v.g;
  const int thread = static_cast<int>(threadIdx.x), quad = thread % quads, slot = thread / quads;
  const std::int32_t k = static_cast<std::int32_t>(blockIdx.y) * FewTile::filters + quad * 4;
  auto band = static_cast<std::int32_t>(blockIdx.x);
  const std::int64_t first = v.by_bands.quotient(band) * v.samples;
  const std::int64_t end = first + v.samples < g.n ? first + v.samples : g.n;
  band -= v.by_bands.quotient(band) * v.bands;
  const std::int32_t oy0 = band * v.band_rows;
  const std::int32_t rows = g.oh - oy0 < v.band_rows ? g.oh - oy0 : v.band_rows, pixels = rows * g.ow;

  float sums[most + 1][4] = {};
  for (std::int64_t n = first; n < end; ++n) {
    FewGradient next[together];
    const std::int64_t sample = n * g.ph * g.pw * g.k + k;
    const auto fetch = [&](int from) {
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const std::int32_t pixel = from + u * slots;
        FewPlace place{(oy0 * g.ow + pixel) * g.k, 0};
        if constexpr (saved == Saved::pooled) {
          const std::int32_t oy = v.by_ow.quotient(pixel);
          place = few_place(g, saved, oy0 + oy, pixel - oy * g.ow);
        }
        next[u].fetch(v.undo, saved, sample, place, pixel < pixels && k < g.k);
      }
    };
    fetch(slot);
    if (n > first) __syncthreads();  // all are done with the lines before
    v.lines.load<threads>(shared.x, n, oy0 * g.stride_h - g.pad_top, few_lines(g, rows));
    __syncthreads();
    for (int from = slot; from < pixels; from += together * slots) {
      float dz[together][4];
      int at[together];
#pragma unroll
      for (int u = 0; u < together; ++u) {
        next[u].undone(v.undo, saved, dz[u]);
        const std::int32_t pixel = from + u * slots < pixels ? from + u * slots : 0;  // dz is 0 behind the last one
        const std::int32_t oy = v.by_ow.quotient(pixel);
        at[u] = oy * v.step_y + (pixel - oy * g.ow) * v.step_x;
      }
      fetch(from + together * slots);
#pragma unroll
      for (int u = 0; u < together; ++u) {
#pragma unroll
        for (int i = 0; i < lines; ++i) {
#pragma unroll
          for (int j = 0; j < length; ++j) {
            const float x = shared.x[at[u] + (lines > 1 ? j : v.offset[j])];
#pragma unroll
            for (int q = 0; q < 4; ++q) sums[i * length + j][q] = __fmaf_rn(x, dz[u][q], sums[i * length + j][q]);
          }
          at[u] += v.step_tap;
        }
#pragma unroll
        for (int q = 0; q < 4; ++q) sums[most][q] += dz[u][q];
      }
    }
  }

#pragma unroll
  for (int t = 0; t <= most; ++t) {
    join_positions(sums[t]);
    if (thread % 32 < quads)
      store_4(shared.sums.at((thread / 32 * (most + 1) + t) * FewTile::filters + quad * 4),
              make_float4(sums[t][0], sums[t][1], sums[t][2], sums[t][3]));
  }
  __syncthreads();
  const std::int32_t k0 = static_cast<std::int32_t>(blockIdx.y) * FewTile::filters;
  for (int i = thread; i < static_cast<int>(v.rows) * FewTile::filters; i += threads) {
    const std::int32_t row = i / FewTile::filters, filter = i % FewTile::filters;
    const std::int32_t from = (row < v.terms ? row : most) * FewTile::filters + filter;
    float sum = shared.sums[from];
#pragma unroll
    for (int w = 1; w < warps; ++w) sum += shared.sums[w * (most + 1) * FewTile::filters + from];
    if (k0 + filter < g.k) v.put(blockIdx.x, row, k0 + filter, sum);
  }
}

struct FewJoinStorage {
  Shared<float, warps * FewTile::filters> sums;
};

/// A block has a row of 32 filters; a thread four of them, and every 32nd chunk.
__global__ void __launch_bounds__(threads, 1) few_sums_join(FewSums v, std::int64_t chunks) {
  auto& shared = shared_storage<FewJoinStorage>();
  const int thread = static_cast<int>(threadIdx.x), quad = thread % quads;
  const std::int32_t k0 = static_cast<std::int32_t>(blockIdx.y) * FewTile::filters, k = k0 + quad * 4;
  const std::int64_t row = blockIdx.x, pitch = v.rows * v.g.k;
  const float* from = v.partial + row * v.g.k + k;
  float sum[4] = {};
  if (k < v.g.k) {
#pragma unroll 8
    for (std::int64_t chunk = thread / quads; chunk < chunks; chunk += slots) {
      float part[4];
      read_four(from + chunk * pitch, part);
#pragma unroll
      for (int q = 0; q < 4; ++q) sum[q] += part[q];
    }
  }
  join_positions(sum);
  if (thread % 32 < quads)
    store_4(shared.sums.at(thread / 32 * FewTile::filters + quad * 4), make_float4(sum[0], sum[1], sum[2], sum[3]));
  __syncthreads();
  if (thread < FewTile::filters && k0 + thread < v.g.k) {
    float all = shared.sums[thread];
#pragma unroll
    for (int w = 1; w < warps; ++w) all += shared.sums[w * FewTile::filters + thread];
    if (row < v.terms)
      v.gfilter[row * v.g.k + k0 + thread] = all;
    else
      v.gbias[k0 + thread] = all;
  }
}

template <int lines, int length>
void run(const Call& call, const FewSums& v, std::int64_t chunks, unsigned tiles) {
  const auto start = [&](auto* kernel) {
    launch(call, kernel, dim3(static_cast<unsigned>(chunks), tiles), dim3(threads),
           sizeof(FewSumsStorage<lines * length>), v);
  };
  switch (saved_of(v.g)) {
    case Saved::nothing:
      return start(few_sums<lines, length, Saved::nothing>);
    case Saved::relu:
      return start(few_sums<lines, length, Saved::relu>);
    case Saved::mask:
      return start(few_sums<lines, length, Saved::mask>);
    case Saved::pooled:
      return start(few_sums<lines, length, Saved::pooled>);
  }
}

}  // namespace

void conv2d_few_sums(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const FewCut cut = few_cut(g);
  const std::int64_t chunks = cut.chunks(g.n);
  FewSums v{.g = g,
            .lines = FewLines(g, static_cast<const float*>(call.in[1]), g.ow),
            .undo = conv_gradient(g, call).undo,
            .by_ow = Divider(g.ow),
            .by_bands = Divider(cut.bands),
            .bands = cut.bands,
            .band_rows = cut.rows,
            .terms = g.kh * g.kw * g.c,
            .step_y = g.stride_h * few_line(g, g.ow),
            .step_x = g.stride_w * g.c,
            .step_tap = g.dilation_h * few_line(g, g.ow),
            .samples = cut.samples,
            .rows = std::int64_t{g.kh} * g.kw * g.c + (g.bias ? 1 : 0),
            .gfilter = static_cast<float*>(call.out[0]),
            .gbias = g.bias ? static_cast<float*>(call.out[1]) : nullptr,
            .partial = chunks > 1 ? static_cast<float*>(call.workspace) : nullptr,
            .offset = {}};
  for (std::int32_t t = 0; t < v.terms; ++t) {
    const std::int32_t tap = t / g.c;
    v.offset[t] = tap / g.kw * g.dilation_h * few_line(g, g.ow) + tap % g.kw * g.dilation_w * g.c + t % g.c;
  }
  const auto tiles = static_cast<unsigned>((g.k + FewTile::filters - 1) / FewTile::filters);
  if (g.kh == 3 && g.kw * g.c == 3 && g.dilation_w == 1)
    run<3, 3>(call, v, chunks, tiles);
  else
    run<1, FewTile::most_sums>(call, v, chunks, tiles);
  if (chunks > 1)
    launch(call, few_sums_join, dim3(static_cast<unsigned>(v.rows), tiles), dim3(threads), sizeof(FewJoinStorage), v,
           chunks);
}

}  // namespace tenon::cuda
