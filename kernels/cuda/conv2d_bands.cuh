// A convolution and its input gradient on tensor cores, from lines of images in shared memory:
//   z(n, oy, ox, k)  = sum over (ky, kx, c) of x(n, oy stride + ky dilation - pad, ox stride + kx dilation - pad, c) f(ky, kx, c, k)
//   gx(n, y, x, c)   = sum over (ky, kx, k) of dz(n, y + pad - ky dilation, x + pad - kx dilation, k) f(ky, kx, c, k)
// The second is the first with other letters (bands.cuh), and a kernel asks its problem where numbers come from and sums go to:
//   problem.bands                        the geometry
//   problem.load_lines<T>(...)           lines of the source to shared memory; behind a pool, dz is expanded on the way there
//   problem.load_filter<T>(...)          taps of the filter
//   problem.finish(unit, units, column, quad)
//
// Layout. Shared memory has some words (`depth`) of every pixel of the band, converted and with zeros for the padding, and as many of
// every column of the filter for some taps. A word is one channel in tf32 or two in 16 bits. Both are in rows of 4 words more than a
// multiple of 16 or 32: eight rows that ldmatrix reads together lie in different banks. So in the inner loop a tap is an offset, and
// nothing is computed or checked.
//
// Which unit is which row of a fragment, and which column, is chosen for the sums (contraction_mma.cuh): those of a thread over two
// fragments of a and four of b are four rows and eight columns. Of 32 rows, row i of lane (g, t) is position i of cell g under
// a pool, else unit 8 i + g; its columns are 4 t .. 4 t + 3 of each half of 32, so that four lanes write 64 bytes in one access.
//
// Parallelisation. A block has a band of the result and some columns; twelve warps share it, each with `down` times 32 rows and 32
// columns: for every 8 words of terms (6 + 2) ldmatrix of 4 cycles serve 24 products of 1.6, with `down` = 3.
//
// Order: slices of channels, taps, channels: the same in every run. Error: as contraction_mma.cuh.
#pragma once
#include "kernels/cuda/bands.cuh"
#include "kernels/cuda/contraction_mma.cuh"

namespace tenon::cuda {

/// A block's part: `across` warps side by side, `down` times 32 rows a warp; `depth` words of a pixel at a time. Shared memory takes
/// so many KiB.
template <class Format_, int across_, int down_, int depth_, int kilobytes_>
struct BandTile {
  using Format = Format_;
  static constexpr int across = across_, down = down_, depth = depth_, pitch = depth + 4, kilobytes = kilobytes_;
  static constexpr int warps = 12, threads = warps * 32;
  static constexpr int columns = across * 32, rows = warps / across * down * 32;
  static constexpr int channels = depth * Format::terms, quads = channels / 4;  // of a slice
  static constexpr int under_way =
      down > 2 ? 6 : 8;           // loads of a thread, whose results its registers hold beside its sums
  static constexpr int taps = 9;  // of the filter at a time
  static constexpr int filter = taps * columns * pitch, lines = kilobytes * 256 - filter - 2 * most_band_taps;
  static_assert(warps % across == 0 && 32 % quads == 0 && depth % 8 == 0 && lines > 0);
};

template <class T>
struct BandStorage {
  Shared<unsigned, T::lines> lines;
  Shared<unsigned, T::filter> filter;
  Shared<int, 2 * most_band_taps> taps;  // offsets of the left and of the right position of a cell
};

/// The row of the filter's tile where a column is.
__device__ inline int column_slot(int column) {
  return column / 32 * 32 + column % 4 * 8 + column % 16 / 4 * 2 + column % 32 / 16;
}
/// Four channels as words.
template <class Format, class Array>
__device__ void store_channels(Array& shared, int at, const float v[4]) {
  if constexpr (Format::terms == 2)
    store_words(shared.at(at), make_uint2(Format::word(v), Format::word(v + 2)));
  else
    store_words(shared.at(at),
                make_uint4(Format::word(v), Format::word(v + 1), Format::word(v + 2), Format::word(v + 3)));
}

/// A slice of lines [line0, line0 + lines) of the stack: four(i, v) reads four channels of the source from element i on. A warp has a
/// line at a time, so that what belongs to a line is computed once for all its pixels.
template <class T, class Array, class Four>
__device__ void load_pixels(const Bands& b, Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0,
                            const Four& four) {
  constexpr int together = T::under_way, across = 32 / T::quads;  // pixels that a warp reads in one access
  const int lane = static_cast<int>(threadIdx.x) % 32, quad = lane % T::quads;
  const std::int32_t c = c0 + quad * 4;
  for (std::int32_t line = static_cast<std::int32_t>(threadIdx.x) / 32; line < lines; line += T::warps) {
    std::int32_t y = line0 + line;
    const std::int32_t image = b.by_height.split(y);
    y -= b.pad_top;
    const bool there = c < b.c && y >= 0 && y < b.h;
    const std::int64_t first = ((std::int64_t{image} * b.h + y) * b.w - b.pad_left) * b.c + c;
    const int to = line * b.line + quad * (4 / T::Format::terms);
    for (std::int32_t from = lane / T::quads; from < b.slots; from += across * together) {
      float value[together][4] = {};
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const std::int32_t slot = from + u * across, x = b.column_of(slot), px = x - b.pad_left;
        if (there && slot < b.slots && px >= 0 && px < b.w) four(first + x * b.c, value[u]);
      }
#pragma unroll
      for (int u = 0; u < together; ++u)
        if (from + u * across < b.slots)
          store_channels<typename T::Format>(shared, to + (from + u * across) * T::pitch, value[u]);
    }
  }
}

/// A slice of the filter whose columns are neighbours in memory, taps [tap0, tap0 + taps): filter (tap, c, column).
template <class T, class Array>
__device__ void load_filter_rows(const Bands& b, Array& shared, const float* filter, std::int32_t tap0,
                                 std::int32_t taps, std::int32_t c0, std::int32_t column0) {
  constexpr int terms = T::Format::terms, together = T::under_way / terms, step = T::threads / 8;
  const int thread = static_cast<int>(threadIdx.x), all = taps * T::depth * T::across;  // quads of eight lines
  const float* base = filter + (std::int64_t{tap0} * b.c + c0) * b.columns + column0 + thread % 8 * 4;
  const std::int32_t left = b.columns - column0 - thread % 8 * 4;
  const int slot = column_slot(thread % 8 * 4);
  for (int from = thread / 8; from < all; from += step * together) {
    float value[together][terms][4] = {};
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * step, c = id % T::depth * terms, group = id / T::depth;
      const int tap = group / T::across, column = group % T::across * 32;
#pragma unroll
      for (int t = 0; t < terms; ++t)
        if (id < all && c0 + c + t < b.c && column < left)
          read_four(base + ((tap * b.c + c + t) * b.columns + column), value[u][t]);
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * step;
      if (id >= all) break;
      const int to = (id / T::depth * 32 + slot) * T::pitch + id % T::depth;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float v[terms];
#pragma unroll
        for (int t = 0; t < terms; ++t) v[t] = value[u][t][j];
        shared[to + j * 8 * T::pitch] = T::Format::word(v);
      }
    }
  }
}

/// A slice of the filter turned round, whose terms are neighbours in memory: filter (last tap - tap, column, c).
template <class T, class Array>
__device__ void load_filter_columns(const Bands& b, Array& shared, const float* filter, std::int32_t tap0,
                                    std::int32_t taps, std::int32_t c0, std::int32_t column0) {
  constexpr int together = T::under_way, step = T::threads / T::quads;
  const int thread = static_cast<int>(threadIdx.x), quad = thread % T::quads, all = taps * T::columns;
  const float* base = filter + (std::int64_t{b.kh * b.kw - 1 - tap0} * b.columns + column0) * b.c + c0 + quad * 4;
  const bool there = c0 + quad * 4 < b.c;
  for (int from = thread / T::quads; from < all; from += step * together) {
    float value[together][4] = {};
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * step, column = id % T::columns, tap = id / T::columns;
      if (there && id < all && column0 + column < b.columns)
        read_four(base + (column - tap * b.columns) * b.c, value[u]);
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int id = from + u * step, row = id / T::columns * T::columns + column_slot(id % T::columns);
      if (id < all)
        store_channels<typename T::Format>(shared, row * T::pitch + quad * (4 / T::Format::terms), value[u]);
    }
  }
}

template <class T, class Problem>
__global__ void __launch_bounds__(T::threads, 1) convolve_bands(Problem problem) {
  auto& shared = shared_storage<BandStorage<T>>();
  const Bands& b = problem.bands;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_number = thread / 32;
  const auto column0 = static_cast<std::int32_t>(blockIdx.y) * T::columns, my_column = warp_number % T::across * 32;
  const std::int32_t row0 = static_cast<std::int32_t>(blockIdx.x) * b.band;
  const std::int64_t left = b.n * b.rows - row0;
  const std::int32_t rows = left < b.band ? static_cast<std::int32_t>(left) : b.band, units = rows * b.units;
  const std::int32_t line0 = b.stack_line(row0), lines = b.stack_line(row0 + rows - 1) + b.window_h - line0;
  const std::int32_t taps = b.kh * b.kw;

  for (int i = thread; i < 2 * taps; i += T::threads) {
    std::int32_t kx = i / 2, ky = 0;
    while (kx >= b.kw) {
      kx -= b.kw;
      ++ky;
    }
    std::int32_t x = kx * b.dilation_w + (b.pool ? i % 2 * b.stride_w : 0);
    const std::int32_t along = b.by_step.split(x);
    shared.taps[i] = ky * b.dilation_h * b.line + (x * b.apart + along) * T::pitch;
  }

  // The pixels whose words this lane asks for.
  const int group_units = b.pool ? 8 : 32, my_unit = warp_number / T::across * T::down * group_units;
  const int right = lane / 8 % 2;
  int a_at[T::down][2];
#pragma unroll
  for (int d = 0; d < T::down; ++d)
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const int unit = my_unit + d * group_units + lane % 8 + (b.pool ? 0 : f * 16 + right * 8);
      std::int32_t along = unit < units ? unit : 0;
      const std::int32_t row = b.by_units.split(along);
      const std::int32_t line = b.stack_line(row0 + row) - line0 + (b.pool ? f * b.stride_h : 0);
      a_at[d][f] = line * b.line + along * T::pitch + lane / 16 * 4;
    }
  const int b_at = (my_column + lane / 16 * 8 + lane % 8) * T::pitch + lane / 8 % 2 * 4;

  float sums[T::down][2][4][4] = {};
  for (std::int32_t c0 = 0; c0 < b.c; c0 += T::channels) {
    const std::int32_t here = b.c - c0 < T::channels ? b.c - c0 : T::channels;
    const int words = (here + T::Format::terms - 1) / T::Format::terms;
    for (std::int32_t tap0 = 0; tap0 < taps; tap0 += T::taps) {
      const std::int32_t these = taps - tap0 < T::taps ? taps - tap0 : T::taps;
      if (c0 + tap0 > 0) __syncthreads();  // all are done with what was there
      if (tap0 == 0) problem.template load_lines<T>(shared.lines, line0, lines, c0);
      problem.template load_filter<T>(shared.filter, tap0, these, c0, column0);
      __syncthreads();
      if (my_unit >= units) continue;
      for (int tap = 0; tap < these; ++tap) {
        const int a_tap = shared.taps[(tap0 + tap) * 2 + right], b_tap = b_at + tap * T::columns * T::pitch;
#pragma unroll
        for (int word = 0; word < T::depth; word += 8) {
          if (word >= words) break;
          unsigned column[4][2];
#pragma unroll
          for (int q = 0; q < 4; q += 2) {
            unsigned r[4];
            ldmatrix_x4(r, shared.filter.at(b_tap + q * 8 * T::pitch + word));
            column[q][0] = r[0];
            column[q][1] = r[1];
            column[q + 1][0] = r[2];
            column[q + 1][1] = r[3];
          }
#pragma unroll
          for (int d = 0; d < T::down; ++d)
#pragma unroll
            for (int f = 0; f < 2; ++f) {
              unsigned row[4];
              ldmatrix_x4(row, shared.lines.at(a_at[d][f] + a_tap + word));
#pragma unroll
              for (int q = 0; q < 4; ++q) T::Format::multiply(sums[d][f][q], row, column[q]);
            }
        }
      }
    }
  }

  // One quad after the other, in a loop that is not unrolled: an epilogue is many instructions, and this way they are fetched once.
  // Registers have no index, so the next quad's sums move to where this one's were.
  const std::int64_t first = std::int64_t{row0} * b.units;
  int unit = my_unit + lane / 4;
  std::int32_t column = column0 + my_column + lane % 4 * 4;
#pragma unroll 1
  for (int part = 0; part < 2 * T::down && unit < units; ++part) {
    Quad z;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) z.sum[i][j] = sums[0][i / 2][j][i % 2 * 2];
    problem.finish(first + unit, first + units, column, z);
    const bool second = part % 2 != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (!second) {
          sums[0][i / 2][j][i % 2 * 2] = sums[0][i / 2][j][i % 2 * 2 + 1];
          continue;
        }
#pragma unroll
        for (int d = 0; d + 1 < T::down; ++d)
#pragma unroll
          for (int h = 0; h < 2; ++h) sums[d][i / 2][j][i % 2 * 2 + h] = sums[d + 1][i / 2][j][i % 2 * 2 + h];
      }
    unit += second ? group_units : 0;
    column += second ? -16 : 16;
  }
}

template <class T, class Problem>
void run_bands(const Call& call, const Problem& problem) {
  const Bands& b = problem.bands;
  const std::int64_t blocks = (b.n * b.rows + b.band - 1) / b.band;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>((b.columns + T::columns - 1) / T::columns));
  launch(call, convolve_bands<T, Problem>, grid, dim3(T::threads), sizeof(BandStorage<T>), problem);
}

/// What a block may have of the current device's shared memory.
inline int most_shared_kilobytes() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    (void)cudaGetLastError();
  return bytes / 1024;
}

template <class T>
bool choose_tile(Bands& b) {
  return choose_band(b, T::rows / (b.pool ? 4 : 1), T::lines, T::pitch);
}
/// Runs the problem if the tile fits it and fills the GPU.
template <class T, class Problem>
bool try_tile(const Call& call, Problem problem) {
  Bands& b = problem.bands;
  if (!choose_tile<T>(b) || !bands_fill(b, T::columns)) return false;
  run_bands<T>(call, problem);
  return true;
}

/// Tiles for few columns and for many, and of pixels of 32 words where there are so many and the device has the room.
template <class Format>
struct BandTiles {
  using Narrow = BandTile<Format, 1, 2, 16, 99>;
  using Wide = BandTile<Format, 2, 3, 16, 99>;
  using DeepNarrow = BandTile<Format, 1, 2, 32, 200>;
  using DeepWide = BandTile<Format, 2, 3, 32, 200>;
};
/// Runs the problem, which takes bands, if a tile fits.
template <class Format, class Problem>
bool try_bands(const Call& call, const Problem& problem) {
  using Tiles = BandTiles<Format>;
  const Bands& b = problem.bands;
  const int room = most_shared_kilobytes();
  if (b.c > Tiles::Wide::channels && room >= Tiles::DeepWide::kilobytes &&
      (b.columns > 32 ? try_tile<typename Tiles::DeepWide>(call, problem)
                      : try_tile<typename Tiles::DeepNarrow>(call, problem)))
    return true;
  if (room < Tiles::Wide::kilobytes) return false;
  return b.columns > 32 ? try_tile<typename Tiles::Wide>(call, problem)
                        : try_tile<typename Tiles::Narrow>(call, problem);
}

}  // namespace tenon::cuda
