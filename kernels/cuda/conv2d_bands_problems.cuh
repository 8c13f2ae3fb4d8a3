// The problems of conv2d_bands.cuh: what lies in a band, and where its sums go.
#pragma once
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/conv2d_bands.cuh"

namespace tenon::cuda {

struct ForwardBands {
  Bands bands;
  const float *x, *filter;
  Epilogue epilogue;

  template <class T, class Array>
  __device__ void load_lines(Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0) const {
    load_pixels<T>(bands, shared, line0, lines, c0, [&](std::int64_t i, float v[4]) { read_four(x + i, v); });
  }
  template <class T, class Array>
  __device__ void load_filter(Array& shared, std::int32_t tap0, std::int32_t taps, std::int32_t c0,
                              std::int32_t column0) const {
    load_filter_rows<T>(bands, shared, filter, tap0, taps, c0, column0);
  }
  __device__ void finish(std::int64_t unit, std::int64_t units, std::int32_t column, const Quad& z) const {
    const std::int64_t rows = bands.pool ? 4 : 1;
    epilogue.finish(unit * rows, units * rows, column, bands.columns, z, 8);
  }
};

inline ForwardBands forward_problem(const ConvGeometry& g, const ForwardView& view) {
  return {forward_bands(g), view.x, view.filter, view.epilogue};
}

struct GradInputBands {
  Bands bands;
  Undo undo;
  bool pool;
  std::int32_t ph, pw;                   // of gy
  std::int32_t cell_rows, cell_columns;  // that an image on the stack and its lines reach, padding and all
  Divider by_cell_rows;
  const float* filter;
  float* gx;

  template <class T, class Array>
  __device__ void load_lines(Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0) const {
    if (pool) return load_cells<T>(shared, line0, lines, c0);
    load_pixels<T>(bands, shared, line0, lines, c0, [&](std::int64_t i, float v[4]) { undo.four(i, 0, v); });
  }
  template <class T, class Array>
  __device__ void load_filter(Array& shared, std::int32_t tap0, std::int32_t taps, std::int32_t c0,
                              std::int32_t column0) const {
    load_filter_columns<T>(bands, shared, filter, tap0, taps, c0, column0);
  }
  __device__ void finish(std::int64_t unit, std::int64_t units, std::int32_t column, const Quad& z) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (unit + i * 8 < units)
        write_four(gx, (unit + i * 8) * bands.columns + column, z.sum[i], bands.columns - column);
  }

 private:
  /// The row of cells where a line of the stack lies, counted from the first that its image reaches.
  [[nodiscard]] __device__ std::int32_t cell_row(std::int32_t line) const {
    const std::int32_t image = bands.by_height.split(line);
    return image * cell_rows + ((line - bands.pad_top) >> 1) - (-bands.pad_top >> 1);
  }
  /// As load_pixels; a cell of the pool is read once, and its four pixels written. A warp has a part of a row of cells at a time.
  template <class T, class Array>
  __device__ void load_cells(Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0) const {
    constexpr int together = 4, across = 32 / T::quads;  // cells that a warp reads in one access
    const auto* mask = static_cast<const std::uint8_t*>(undo.saved);
    const int lane = static_cast<int>(threadIdx.x) % 32, quad = lane % T::quads;
    const std::int32_t c = c0 + quad * 4, first = cell_row(line0);
    const std::int32_t parts = (cell_columns + across * together - 1) / (across * together);
    const std::int32_t all = (cell_row(line0 + lines - 1) + 1 - first) * parts;
    const std::int32_t left = -bands.pad_left >> 1;  // the first cell of a row
    for (std::int32_t id = static_cast<std::int32_t>(threadIdx.x) / 32; id < all; id += T::warps) {
      const std::int32_t row = id / parts, part = id - row * parts;
      std::int32_t py = first + row;
      const std::int32_t image = by_cell_rows.split(py), from = part * across * together + lane / T::quads;
      py += -bands.pad_top >> 1;
      const bool there = c < bands.c && py >= 0 && py < ph;
      const std::int64_t begin = ((std::int64_t{image} * ph + py) * pw + left) * bands.c + c;
      float value[together][4] = {};
      uchar4 chosen[together];
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const std::int32_t cell = from + u * across, px = left + cell;
        chosen[u] = make_uchar4(0, 0, 0, 0);
        if (there && px >= 0 && px < pw) {
          read_four(undo.gy + begin + cell * bands.c, value[u]);
          chosen[u] = *reinterpret_cast<const uchar4*>(mask + begin + cell * bands.c);
        }
      }
      // Of the cell's two lines, those that are of this image and of this band.
      const std::int32_t line = py * 2 + bands.pad_top, y = image * bands.height + line - line0;
      const bool upper = line >= 0 && y >= 0 && y < lines;
      const bool lower = line + 1 < bands.height && y + 1 >= 0 && y + 1 < lines;
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const std::int32_t x = (left + from + u * across) * 2 + bands.pad_left;
        const int to = y * bands.line + x * T::pitch + quad * (4 / T::Format::terms);
        const std::uint8_t byte[4] = {chosen[u].x, chosen[u].y, chosen[u].z, chosen[u].w};
#pragma unroll
        for (int position = 0; position < 4; ++position) {
          const int right = position % 2;
          if (!(position / 2 == 0 ? upper : lower) || x + right < 0 || x + right >= bands.width) continue;
          float v[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) v[j] = byte[j] == position ? value[u][j] * undo.scale : 0.f;
          store_channels<typename T::Format>(shared, to + position / 2 * bands.line + right * T::pitch, v);
        }
      }
    }
  }
};

inline GradInputBands grad_input_problem(const ConvGeometry& g, const GradInputView& view) {
  GradInputBands p{.bands = grad_input_bands(g),
                   .undo = view.dz.undo,
                   .pool = g.pool,
                   .ph = g.ph,
                   .pw = g.pw,
                   .filter = view.filter,
                   .gx = view.gx};
  const Bands& b = p.bands;
  p.cell_rows = ((b.height - 1 - b.pad_top) >> 1) - (-b.pad_top >> 1) + 1;
  p.cell_columns = ((b.width - 1 - b.pad_left) >> 1) - (-b.pad_left >> 1) + 1;
  p.by_cell_rows = Divider(p.cell_rows);
  return p;
}

}  // namespace tenon::cuda
