// The filter gradient of a convolution whose epilogue ends in a 2x2 max-pool, on tensor cores:
//   gfilter(ky, kx, c, k) = sum over samples, cells of the pool and their four positions of
//                           dz(cell, position, k) x(position * stride + tap * dilation - pad, c)
//   gbias(k)              = sum over samples and cells of dz, which is at most one number a cell: in fp32
// Of a cell's four dz three are zero, and the mask says which. So the gradient of the full map is made nowhere, neither in memory
// nor in shared memory: a thread reads a cell's gradient and mask byte and has its part of a fragment.
//
// Layout. Products are a(k, position) b(position, c), the positions of four cells after one another; which position is which term
// of a fragment (ptx.cuh) is ours to choose:
//   16 bits   terms 2t, 2t + 1, 2t + 8, 2t + 9 of an instruction are the positions 0, 1, 2, 3 of cell t: what lane (g, t) holds of a row
//             are the four positions of one cell. b comes by ldmatrix, transposed, from pixels of 32 channels.
//   tf32      an instruction takes a row of the four windows: terms t and t + 4 are its two positions in cell t.
// Rows of fragments are filters 4 g + q, as in contraction_mma.cuh: a lane reads four filters in one access, and writes four sums so.
// Shared memory has 32 channels of the lines of an image that some pooled rows reach, padding and all, so that a tap is an offset
// and nothing is checked in the inner loop. A pixel is 20 words in 16 bits and 36 in tf32: pixels that one instruction reads, two
// windows apart, lie in different banks.
//
// A block has 9 taps, 32 channels, 64 filters and the samples of a chunk; a warp has 3 taps and 32 filters, so that a fragment of dz
// that was expanded serves 24 products (48 in tf32). It holds 96 sums a thread. Chunks are joined by join_chunks.
//
// Error: as contraction_mma.cuh; the bias gradient that of sums in fp32.
#pragma once
#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/conv2d_grad_filter_pooled.cuh"

namespace tenon::cuda {

/// What differs between the formats. A step is four cells; a fragment of dz has `products` instructions for each half of the filters.
template <class Format>
struct Cells;

/// Of 16 bits.
template <class Format>
struct HalfCells {
  static constexpr int pitch = 20, products = 1;  // words of a pixel

  /// The cell, the column and the row in its window, and the word of the pixel, that a lane asks for.
  __device__ static int cell(int lane) { return lane % 8 / 2; }
  __device__ static int column(int lane) { return lane % 2; }
  __device__ static int row(int lane) { return lane / 8 % 2; }
  __device__ static int word(int lane) { return lane / 16 * 4; }
  /// The channel of a sum.
  __device__ static int channel(int tile, int column) { return tile * 8 + column; }

  /// Four channels of a pixel, from word `at` on.
  template <class Array>
  __device__ static void store(Array& shared, int at, const float v[4]) {
    shared[at] = Format::word(v);
    shared[at + 1] = Format::word(v + 2);
  }
  __device__ static int quad_word(int quad) { return quad * 2; }

  __device__ static void expand(const float v[4], const std::uint8_t position[4], int, unsigned a[2][4]) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const float pair[2] = {v[q], 0.f};
      const unsigned low = Format::word(pair), high = low << 16, p = position[q];
      a[q / 2][q % 2] = p == 0 ? low : p == 1 ? high : 0;
      a[q / 2][q % 2 + 2] = p == 2 ? low : p == 3 ? high : 0;
    }
  }
  template <class Array>
  __device__ static void load(Array& shared, int at, int, int, int, unsigned b[4][2]) {
#pragma unroll
    for (int tile = 0; tile < 4; tile += 2) {
      unsigned r[4];
      ldmatrix_x4_trans(r, shared.at(at + tile * 4));
      b[tile][0] = r[0];
      b[tile][1] = r[1];
      b[tile + 1][0] = r[2];
      b[tile + 1][1] = r[3];
    }
  }
};

template <>
struct Cells<Bf16> : HalfCells<Bf16> {};
template <>
struct Cells<Fp16> : HalfCells<Fp16> {};

template <>
struct Cells<Tf32> {
  static constexpr int pitch = 36, products = 2;

  __device__ static int cell(int lane) { return lane % 4; }
  __device__ static int column(int) { return 0; }
  __device__ static int row(int) { return 0; }
  __device__ static int word(int lane) { return lane / 4 * 4; }
  __device__ static int channel(int tile, int column) { return column * 4 + tile; }

  template <class Array>
  __device__ static void store(Array& shared, int at, const float v[4]) {
    store_4(shared.at(at), make_uint4(Tf32::word(v), Tf32::word(v + 1), Tf32::word(v + 2), Tf32::word(v + 3)));
  }
  __device__ static int quad_word(int quad) { return quad * 4; }

  __device__ static void expand(const float v[4], const std::uint8_t position[4], int product, unsigned a[2][4]) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const unsigned word = Tf32::word(v + q);
#pragma unroll
      for (int p = 0; p < 2; ++p) a[q / 2][q % 2 + p * 2] = position[q] == product * 2 + p ? word : 0;
    }
  }
  /// A row of the windows, `down` words below the first; the second position is `right` words on.
  template <class Array>
  __device__ static void load(Array& shared, int at, int product, int down, int right, unsigned b[4][2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4 v = load_4(shared.at(at + product * down + h * right));
      b[0][h] = v.x;
      b[1][h] = v.y;
      b[2][h] = v.z;
      b[3][h] = v.w;
    }
  }
};

template <class Format>
struct CellsStorage {
  Shared<unsigned, CellsTile::pixels * Cells<Format>::pitch> words;
  static_assert(CellsTile::pixels * Cells<Format>::pitch * 4 <= 99 * 1024);
};

/// Lines [y0, y0 + lines) of an image, 32 channels from c0 on, to shared memory; zeros outside.
template <class Format, class Array>
__device__ void load_band(const PooledGradient& v, Array& shared, const float* image, std::int32_t y0,
                          std::int32_t lines, std::int32_t c0) {
  constexpr int threads = CellsTile::warps * 32, together = 8, quads = CellsTile::channels / 4;
  const int all = lines * v.width * quads;
  for (int from = static_cast<int>(threadIdx.x); from < all; from += threads * together) {
    float value[together][4] = {};
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * threads, c = c0 + id % quads * 4;
      std::int32_t x = id / quads;
      const std::int32_t y = y0 + v.by_width.split(x);
      x -= v.g.pad_left;
      if (id < all && c < v.g.c && y >= 0 && y < v.g.h && x >= 0 && x < v.g.w)
        read_four(image + (static_cast<std::int64_t>(y) * v.g.w + x) * v.g.c + c, value[u]);
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * threads;
      if (id < all)
        Cells<Format>::store(shared, id / quads * Cells<Format>::pitch + Cells<Format>::quad_word(id % quads),
                             value[u]);
    }
  }
}

/// Of four filters in a cell: the pooled gradient, and which position it goes to.
struct CellGradient {
  float v[4];
  uchar4 mask;
};

template <class Format>
__global__ void __launch_bounds__(CellsTile::warps * 32, 1) grad_filter_cells(PooledGradient v) {
  using C = Cells<Format>;
  constexpr int warp_taps = 3;
  auto& shared = shared_storage<CellsStorage<Format>>().words;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp_number = static_cast<int>(threadIdx.x) / 32;
  const ConvGeometry& g = v.g;
  const std::int32_t tap_blocks = (g.kh * g.kw + CellsTile::taps - 1) / CellsTile::taps;
  const auto block = static_cast<std::int32_t>(blockIdx.x);
  const std::int32_t c0 = block / tap_blocks * CellsTile::channels;
  const std::int32_t tap0 = block % tap_blocks * CellsTile::taps + warp_number / 2 * warp_taps;
  const std::int32_t k =
      static_cast<std::int32_t>(blockIdx.y) * CellsTile::filters + warp_number % 2 * 32 + lane / 4 * 4;
  const std::int64_t chunk = blockIdx.z;
  const bool sums_bias = v.gbias != nullptr && block == 0 && warp_number < 2;

  const int right = g.stride_w * C::pitch, down = g.stride_h * v.width * C::pitch;
  int tap_at[warp_taps];
#pragma unroll
  for (int i = 0; i < warp_taps; ++i) {
    const std::int32_t tap = tap0 + i, ky = tap / g.kw;
    tap_at[i] = tap < g.kh * g.kw ? (ky * g.dilation_h * v.width + (tap - ky * g.kw) * g.dilation_w) * C::pitch : -1;
  }

  float sums[warp_taps][2][4][4] = {}, bias[4] = {};
  const auto first_sample = static_cast<std::int32_t>(chunk * v.chunk_samples);
  const std::int64_t left = g.n - first_sample;
  const std::int32_t end = first_sample + static_cast<std::int32_t>(left < v.chunk_samples ? left : v.chunk_samples);
  for (std::int32_t n = first_sample; n < end; ++n)
    for (std::int32_t py = 0; py < g.ph; py += v.band) {
      const std::int32_t rows = g.ph - py < v.band ? g.ph - py : v.band;
      __syncthreads();  // all are done with the lines before
      load_band<Format>(v, shared, v.x + std::int64_t{n} * g.h * g.w * g.c, py * 2 * g.stride_h - g.pad_top,
                        cells_height(g, rows), c0);
      __syncthreads();

      const int cells = rows * g.pw;
      const std::int64_t base = (std::int64_t{n} * g.ph + py) * g.pw * g.k + k;
      const float* gy = v.gy + base;
      const std::uint8_t* mask = v.mask + base;
      const auto fetch = [&](int first) {
        CellGradient found = {};
        const int cell = first + lane % 4;
        if (cell < cells && k < g.k) {
          read_four(gy + cell * g.k, found.v);
          found.mask = *reinterpret_cast<const uchar4*>(mask + cell * g.k);
        }
        return found;
      };
      // Two steps ahead: there is one block a multiprocessor, and its few warps do not hide what memory takes.
      CellGradient next = fetch(0), second = fetch(4);
      for (int first = 0; first < cells; first += 4) {
        float dz[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) dz[q] = next.v[q] * v.scale;
        const std::uint8_t position[4] = {next.mask.x, next.mask.y, next.mask.z, next.mask.w};
        next = second;
        second = fetch(first + 8);
        if (sums_bias) {
#pragma unroll
          for (int q = 0; q < 4; ++q) bias[q] += position[q] < 4 ? dz[q] : 0.f;
        }

        // Cells behind the last one have a dz of zeros; whose pixels they meet does not matter.
        std::int32_t px = first + C::cell(lane) < cells ? first + C::cell(lane) : 0;
        const std::int32_t row = v.by_pw.split(px);
        const int at = 2 * row * down + 2 * px * right + C::row(lane) * down + C::column(lane) * right + C::word(lane);
#pragma unroll
        for (int product = 0; product < C::products; ++product) {
          unsigned a[2][4];
          C::expand(dz, position, product, a);
#pragma unroll
          for (int i = 0; i < warp_taps; ++i) {
            if (tap_at[i] < 0) break;
            unsigned b[4][2];
            C::load(shared, at + tap_at[i], product, down, right, b);
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
              for (int tile = 0; tile < 4; ++tile) Format::multiply(sums[i][half][tile], a[half], b[tile]);
          }
        }
      }
    }

  const auto put = [&](std::int64_t row, const float four[4]) {
    if (v.chunks > 1)
      write_four(v.partial, (chunk * v.rows + row) * g.k + k, four, g.k - k);
    else if (row < std::int64_t{g.kh} * g.kw * g.c)
      write_four(v.gfilter, row * g.k + k, four, g.k - k);
    else
      write_four(v.gbias, k, four, g.k - k);
  };
#pragma unroll
  for (int i = 0; i < warp_taps; ++i) {
    if (tap_at[i] < 0) break;
#pragma unroll
    for (int tile = 0; tile < 4; ++tile)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const std::int32_t c = c0 + C::channel(tile, lane % 4 * 2 + e);
        if (c >= g.c) continue;
        const float four[4] = {sums[i][0][tile][e], sums[i][0][tile][e + 2], sums[i][1][tile][e],
                               sums[i][1][tile][e + 2]};
        put(std::int64_t{tap0 + i} * g.c + c, four);
      }
  }
  if (sums_bias) {
    // The four lanes of a row had every fourth cell each.
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      bias[q] += __shfl_xor_sync(whole_warp, bias[q], 1);
      bias[q] += __shfl_xor_sync(whole_warp, bias[q], 2);
    }
    if (lane % 4 == 0) put(std::int64_t{g.kh} * g.kw * g.c, bias);
  }
}

/// The view with the chunks of chunk_samples(); takes_cells() holds.
template <class Format>
void run_grad_filter_cells(const Call& call, const ConvGeometry& g, const GradFilterView& view) {
  if (g.n == 0 || g.k == 0) return run_contraction(call, view);  // zeros
  std::int32_t band = 1;
  while (band < g.ph && cells_width(g) * cells_height(g, band + 1) <= CellsTile::pixels) ++band;
  const PooledGradient v = pooled_gradient(call, view, band);
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(g.kh * g.kw, CellsTile::taps) * blocks(g.c, CellsTile::channels),
                  blocks(g.k, CellsTile::filters), static_cast<unsigned>(view.chunks));
  launch(call, grad_filter_cells<Format>, grid, dim3(CellsTile::warps * 32), sizeof(CellsStorage<Format>), v);
  if (view.chunks > 1) run_join(call, view);
}

}  // namespace tenon::cuda
