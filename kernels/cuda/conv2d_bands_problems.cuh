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
    load_pixels<T>(bands, shared, line0, lines, c0,
                   [&](std::int32_t image, std::int32_t y, std::int32_t px, std::int32_t c, float v[4]) {
                     read_four(x + ((std::int64_t{image} * bands.h + y) * bands.w + px) * bands.c + c, v);
                   });
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
  Divider by_cell_rows, by_cell_columns;
  const float* filter;
  float* gx;

  template <class T, class Array>
  __device__ void load_lines(Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0) const {
    if (pool) return load_cells<T>(shared, line0, lines, c0);
    load_pixels<T>(bands, shared, line0, lines, c0,
                   [&](std::int32_t image, std::int32_t y, std::int32_t px, std::int32_t c, float v[4]) {
                     undo.four(((std::int64_t{image} * bands.h + y) * bands.w + px) * bands.c + c, 0, v);
                   });
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
  /// As load_pixels; a cell of the pool is read once, and its four pixels written.
  template <class T, class Array>
  __device__ void load_cells(Array& shared, std::int32_t line0, std::int32_t lines, std::int32_t c0) const {
    constexpr int together = T::under_way / 2;
    const auto* mask = static_cast<const std::uint8_t*>(undo.saved);
    const std::int32_t first = cell_row(line0);
    const int all = (cell_row(line0 + lines - 1) + 1 - first) * cell_columns * T::quads;
    for (int from = static_cast<int>(threadIdx.x); from < all; from += T::threads * together) {
      float value[together][4] = {};
      uchar4 chosen[together];
      std::int32_t top[together], line[together],
          pixel[together];  // where the image begins; of a cell's first position in it
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const int id = from + u * T::threads, quad = id % T::quads;
        std::int32_t px = id / T::quads, py = first + by_cell_columns.split(px);
        const std::int32_t image = by_cell_rows.split(py), c = c0 + quad * 4;
        py += -bands.pad_top >> 1;
        px += -bands.pad_left >> 1;
        chosen[u] = make_uchar4(0, 0, 0, 0);
        top[u] = image * bands.height - line0;
        line[u] = py * 2 + bands.pad_top;
        pixel[u] = px * 2 + bands.pad_left;
        if (id < all && c < bands.c && py >= 0 && py < ph && px >= 0 && px < pw) {
          const std::int64_t i = ((std::int64_t{image} * ph + py) * pw + px) * bands.c + c;
          read_four(undo.gy + i, value[u]);
          chosen[u] = *reinterpret_cast<const uchar4*>(mask + i);
        }
      }
#pragma unroll
      for (int u = 0; u < together; ++u) {
        const int id = from + u * T::threads;
        if (id >= all) break;
        const std::uint8_t byte[4] = {chosen[u].x, chosen[u].y, chosen[u].z, chosen[u].w};
#pragma unroll
        for (int position = 0; position < 4; ++position) {
          const std::int32_t inside = line[u] + position / 2, y = top[u] + inside, px = pixel[u] + position % 2;
          if (inside < 0 || inside >= bands.height || y < 0 || y >= lines || px < 0 || px >= bands.width) continue;
          float v[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) v[j] = byte[j] == position ? value[u][j] * undo.scale : 0.f;
          store_channels<typename T::Format>(
              shared, y * bands.line + px * T::pitch + id % T::quads * (4 / T::Format::terms), v);
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
  p.by_cell_columns = Divider(p.cell_columns);
  return p;
}

}  // namespace tenon::cuda
