// What the binding code hands to the contractions of kernels/cpu/micro, beside the geometry that every provider takes
// (kernels/common/geometry.hpp): flat, plain structs without a single function.
#pragma once
#include <cstdint>

#include "kernels/common/geometry.hpp"

namespace tenon::cpu {

/// Floats between packed rows of a: a chunk of k and one cache line; the short one where k fits into it.
inline constexpr std::int64_t gemm_stride = 1024 + 16, gemm_short_stride = 128 + 16;

/// A product with its blocking; c is row-major, or column-major where `turned`.
struct GemmGeometry : ProductGeometry {
  bool turned;
  std::int64_t a_stride;  // of packed a: gemm_stride, gemm_short_stride, or 0 for [k][rows]
  // Blocking.
  std::int32_t threads;     // at most
  bool b_in_place;          // whole panels of b are read where they lie
  bool by_chunks;           // threads share k, not c
  bool sums_to_c;           // one chunk, and no epilogue: sums are results
  std::int64_t tile_block;  // tiles of a, columns of b and rows of c that are worked on at a time
  std::int64_t column_block, row_block;
  // Workspace, offsets in floats; b_at and stack_at count from a thread's own part.
  std::int64_t dz_at, sums_at, slots_at, own_at, own_each, b_at, stack_at;
};

/// Panels of dz that a dense filter gradient packs at once: 256 KiB for 256 positions and panels of 32 filters.
inline constexpr std::int64_t filter_panels = 8;

/// The output positions that reach an image, where they are more or less than there are: dz with zeros around it.
struct DzFrame {
  std::int64_t top, left, h, w;   // first position and extents
  std::int64_t reach_h, reach_w;  // positions from tap to tap of one residue modulo the stride
};

/// A convolution with the layout of its workspace, offsets in floats.
struct Conv2dPlan {
  ConvGeometry g;
  std::int32_t threads;                   // at most
  std::int32_t cg, kg;                    // channels and filters of a group
  bool padded;                            // false: the image is used where it lies
  std::int32_t padded_h, padded_w;        // of the zero-padded image: as far as the windows reach
  std::int32_t panels;                    // of 2 * width filters, per group
  std::int64_t unit_block, images_block;  // output rows that share a piece of the filter, images they may touch
  std::int64_t filter_at;                 // the filter, packed
  std::int64_t scratch_at, scratch_each;  // per thread
  std::int64_t partial_at, partial_each;  // per sample group: filter gradient, then bias gradient
  DzFrame dz;                             // dense input gradient
  bool depthwise;                         // a filter of its own for every channel
};

/// Independent chains of FMAs, as many as keep the two units of an x86-64 core busy, or the up to four of an AArch64 core, which
/// has the registers for that; seeds in Call::in[0]: the start of each chain, then the factor and the addend of all.
#if defined(__aarch64__)
inline constexpr int fma_chains = 24;
#else
inline constexpr int fma_chains = 12;
#endif
struct FmaGeometry {
  std::int64_t iterations;  // an FMA of every chain each
};

}  // namespace tenon::cpu
