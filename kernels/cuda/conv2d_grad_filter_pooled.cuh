// What both kernels of the filter gradient behind a 2x2 max-pool are told: conv2d_grad_filter_cells.cuh and
// conv2d_grad_filter_live.cuh.
#pragma once
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/filter_gradient.hpp"

namespace tenon::cuda {

struct PooledGradient {
  ConvGeometry g;
  Divider by_pw, by_width;
  std::int32_t width, band;                  // pixels of a line in shared memory; pooled rows that are there together
  std::int64_t chunk_samples, chunks, rows;  // rows of sums: taps and channels, and the bias
  const float *gy, *x;
  const std::uint8_t* mask;
  float scale;
  float *gfilter, *gbias, *partial;  // [chunk, rows, filters] where there are several
};

/// Of a view whose dz is behind a mask, in bands of so many pooled rows.
inline PooledGradient pooled_gradient(const Call& call, const GradFilterView& view, std::int32_t band) {
  const ConvGeometry& g = view.e.g;
  return {.g = g,
          .by_pw = Divider(g.pw),
          .by_width = Divider(cells_width(g)),
          .width = cells_width(g),
          .band = band,
          .chunk_samples = view.chunk_samples,
          .chunks = view.chunks,
          .rows = view.rows,
          .gy = view.dz.undo.gy,
          .x = view.x,
          .mask = static_cast<const std::uint8_t*>(view.dz.undo.saved),
          .scale = view.dz.undo.scale,
          .gfilter = view.gfilter,
          .gbias = view.gbias,
          .partial = static_cast<float*>(call.workspace)};
}

}  // namespace tenon::cuda
