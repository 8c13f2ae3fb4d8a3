// The input gradient of a convolution whose epilogue ends in a 2x2 max-pool, with stride and dilation 1, in canonical order:
//   gx(y, x, c) = sum over positions (oy, ox) that reach the pixel, and k, of dz(oy, ox, k) filter(y + pad - oy, x + pad - ox, c, k)
// one chain per pixel and channel, (oy, ox, k) ascending. In a cell of the pool a filter has a dz at one position at most, or none:
// what is summed are lists of live terms, and dead ones, which are most, cost nothing.
//
// Layout. Of every cell shared memory has a list: of its four positions after one another the live k, ascending, as what they add to an
// address of the filters, and dz. The lists of some pooled rows are there, as a ring. The filters of all taps are there, too, with
// the channels of a (tap, k) as neighbours; the quads of channels change places (by k) so that a transposing store meets every bank.
//
// A block has `channels` channels of some lines of an image. With every pooled row whose lists are written two more lines of pixels
// can be summed, while its warps write those of the next row, a cell each, from values that they asked for a step earlier. Of a
// warp that sums, channels / 4 lanes have a pixel: they read a term's filters side by side, so that shared memory serves a quarter
// of a warp without a conflict, and walk the pixel's own lists.
//
// Error: that of the chain, as on the CPU: the bits are the same.
#pragma once
#include <algorithm>

#include "kernels/cuda/conv2d.cuh"

namespace tenon::cuda {

struct LiveInputTile {
  static constexpr int warps = 14, threads = warps * 32;
  static constexpr int filters = 18432;  // numbers of filters in shared memory: 9 taps of 64 for 32 channels
  static constexpr int terms = 3072;     // of all lists
  static constexpr int cells = 128;
  /// Filters, by 32, that a lane can ask for.
  static constexpr int chunks(int channels) { return channels == 32 ? 2 : 4; }
};
struct LiveInputStorage {
  Shared<float, LiveInputTile::filters> filters;
  Shared<float, LiveInputTile::terms * 2> terms;  // an offset of filters, dz
  Shared<int, LiveInputTile::cells * 5> ends;     // where a position's terms begin and the last one's end
};
static_assert(sizeof(LiveInputStorage) <= 99 * 1024);

struct LiveInput {
  ConvGeometry g;
  Divider by_w, by_k, by_slots, by_parts;
  std::int32_t slots;         // pooled rows of the ring
  std::int32_t parts, steps;  // of an image, and of a part
  const float *gy, *filter;
  const std::uint8_t* mask;
  float scale;
  float* gx;
};

/// Pooled rows before the newest one that its pixels need.
inline std::int32_t live_rows_back(const ConvGeometry& g) { return g.kh / 2; }
/// Channels of a block: as many as there are and there is room for; 0: none.
inline std::int32_t live_channels(const ConvGeometry& g) {
  for (const std::int32_t channels : {32, 16, 8})
    if ((channels == 8 || g.c > channels / 2) && g.k <= LiveInputTile::chunks(channels) * 32 &&
        std::int64_t{g.kh} * g.kw * g.k * channels <= LiveInputTile::filters)
      return channels;
  return 0;
}
/// True where the input gradient sums live terms only.
inline bool takes_live_input(const ConvGeometry& g) {
  const std::int64_t cells = std::int64_t{live_rows_back(g) + 2} * g.pw;
  return g.pool && g.mask && g.groups == 1 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
         g.dilation_w == 1 && g.c % 4 == 0 && g.k > 0 && g.ph > 0 && g.pw > 0 && live_channels(g) > 0 &&
         cells <= LiveInputTile::cells && cells * g.k <= LiveInputTile::terms;
}

/// A cell's gradients and mask, of filter lane, lane + 32, ...
template <int chunks>
struct LiveCell {
  float gy[chunks];
  std::uint8_t position[chunks];
};
template <int chunks>
__device__ LiveCell<chunks> ask_cell(const LiveInput& v, std::int32_t n, std::int32_t py, std::int32_t px, int lane) {
  LiveCell<chunks> cell;
  const std::int64_t at = ((std::int64_t{n} * v.g.ph + py) * v.g.pw + px) * v.g.k;
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    const int k = i * 32 + lane;
    const bool there = py < v.g.ph && px < v.g.pw && k < v.g.k;
    cell.gy[i] = there ? v.gy[at + k] : 0.f;
    cell.position[i] = there ? v.mask[at + k] : op::Epilogue::killed;
  }
  return cell;
}

template <int channels>
__device__ int swizzled(int quad, int k) {
  return quad ^ (k / (32 / channels) % (channels / 4));
}

template <int channels, int chunks>
__device__ void list_cell(const LiveInput& v, LiveInputStorage& shared, const LiveCell<chunks>& cell, int number,
                          int lane) {
  const unsigned before = (1u << lane) - 1;
  int count = 0;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    if (lane == 0) shared.ends[number * 5 + p] = count;
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
      if (i * 32 >= v.g.k) break;
      const bool live = cell.position[i] == p;
      const unsigned set = __ballot_sync(whole_warp, live);
      if (live) {
        const int k = i * 32 + lane, at = (number * v.g.k + count + __popc(set & before)) * 2;
        // The right position meets the tap to the left.
        const int offset = (k - p % 2 * v.g.k) * channels + swizzled<channels>(0, k) * 4;
        shared.terms[at] = __int_as_float(offset);
        shared.terms[at + 1] = cell.gy[i] * v.scale;
      }
      count += __popc(set);
    }
  }
  if (lane == 0) shared.ends[number * 5 + 4] = count;
}

/// filters(tap, k, c) = filter(tap, c0 + c, k), a quad of channels a thread.
template <int channels>
__device__ void load_filters(const LiveInput& v, LiveInputStorage& shared, std::int32_t c0) {
  constexpr int quads = channels / 4;
  const int all = v.g.kh * v.g.kw * quads * v.g.k;
#pragma unroll 2
  for (int id = static_cast<int>(threadIdx.x); id < all; id += LiveInputTile::threads) {
    std::int32_t k = id;
    const std::int32_t rest = v.by_k.split(k), quad = rest % quads, tap = rest / quads, c = c0 + quad * 4;
    const float* from = v.filter + (std::int64_t{tap} * v.g.c + c) * v.g.k + k;
    float4 four = make_float4(0.f, 0.f, 0.f, 0.f);
    if (c < v.g.c) four = make_float4(from[0], from[v.g.k], from[2 * v.g.k], from[3 * v.g.k]);
    store_4(shared.filters.at((tap * v.g.k + k) * channels + swizzled<channels>(quad, k) * 4), four);
  }
}

/// A pixel's sums of four channels, `quad` of the block's; y and x are of the padded image.
template <int channels>
__device__ float4 sum_live(const LiveInput& v, LiveInputStorage& shared, std::int32_t y, std::int32_t x, int quad) {
  const ConvGeometry& g = v.g;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  const auto add = [&](int term, int base) {
    const float2 t = load_2(shared.terms.at(term * 2));
    const float4 f = load_4(shared.filters.at(base + (__float_as_int(t.x) ^ quad * 4)));
    sum.x = __fmaf_rn(t.y, f.x, sum.x);
    sum.y = __fmaf_rn(t.y, f.y, sum.y);
    sum.z = __fmaf_rn(t.y, f.z, sum.z);
    sum.w = __fmaf_rn(t.y, f.w, sum.w);
  };
  const std::int32_t left = x - (g.kw - 1), top = y - (g.kh - 1);
  const std::int32_t oy_end = y < 2 * g.ph ? y + 1 : 2 * g.ph, cell_end = x / 2 < g.pw ? x / 2 + 1 : g.pw;
  for (std::int32_t oy = top > 0 ? top : 0; oy < oy_end; ++oy) {
    std::int32_t slot = oy / 2;
    v.by_slots.split(slot);
    for (std::int32_t px = left > 0 ? left / 2 : 0; px < cell_end; ++px) {
      const int number = slot * g.pw + px;
      const int first = 2 * px < left ? 1 : 0, last = 2 * px + 1 > x ? 0 : 1;
      int i = shared.ends[number * 5 + oy % 2 * 2 + first];
      const int end = shared.ends[number * 5 + oy % 2 * 2 + last + 1];
      const int base = ((y - oy) * g.kw + x - 2 * px) * g.k * channels, list = number * g.k;
#pragma unroll 1
      for (; i + 4 <= end; i += 4) {
#pragma unroll
        for (int j = 0; j < 4; ++j) add(list + i + j, base);
      }
#pragma unroll 1
      for (; i < end; ++i) add(list + i, base);
    }
  }
  return sum;
}

template <int channels>
__global__ void __launch_bounds__(LiveInputTile::threads, channels == 32 ? 2 : 1) grad_input_live(LiveInput v) {
  constexpr int quads = channels / 4, pixels = 32 / quads;  // of a warp
  constexpr int chunks = LiveInputTile::chunks(channels);
  LiveInputStorage& shared = shared_storage<LiveInputStorage>();
  const ConvGeometry& g = v.g;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp_number = static_cast<int>(threadIdx.x) / 32;
  auto part = static_cast<std::int32_t>(blockIdx.x);
  const std::int32_t n = v.by_parts.split(part), c0 = static_cast<std::int32_t>(blockIdx.y) * channels;
  const std::int32_t first_step = part * v.steps, last_step = first_step + v.steps;

  const auto list = [&](std::int32_t py, const LiveCell<chunks>& asked) {
    if (py < 0 || py >= g.ph) return;
    std::int32_t slot = py;
    v.by_slots.split(slot);
    for (std::int32_t px = warp_number; px < g.pw; px += LiveInputTile::warps) {
      const LiveCell<chunks> cell = px == warp_number ? asked : ask_cell<chunks>(v, n, py, px, lane);
      list_cell<channels>(v, shared, cell, slot * g.pw + px, lane);
    }
  };
  LiveCell<chunks> next = ask_cell<chunks>(v, n, first_step + 1, warp_number, lane);
  load_filters<channels>(v, shared, c0);
  for (std::int32_t py = first_step - (v.slots - 2); py <= first_step; ++py)
    if (py >= 0) list(py, ask_cell<chunks>(v, n, py, warp_number, lane));
  for (std::int32_t step = first_step; step < last_step; ++step) {
    __syncthreads();  // the lists of row `step` are there, and the row whose place is taken now is done with
    list(step + 1, next);
    next = ask_cell<chunks>(v, n, step + 2, warp_number, lane);
    const std::int32_t from = 2 * step - g.pad_top, y0 = from > 0 ? from : 0;
    const std::int32_t y1 = from + 2 < g.h ? from + 2 : g.h, all = y1 > y0 ? (y1 - y0) * g.w : 0;
    for (std::int32_t pixel = warp_number * pixels + lane / quads; pixel < all;
         pixel += LiveInputTile::warps * pixels) {
      std::int32_t x = pixel;
      const std::int32_t y = y0 + v.by_w.split(x), c = c0 + lane % quads * 4;
      if (c >= g.c) continue;
      const float4 sum = sum_live<channels>(v, shared, y + g.pad_top, x + g.pad_left, lane % quads);
      *reinterpret_cast<float4*>(v.gx + ((std::int64_t{n} * g.h + y) * g.w + x) * g.c + c) = sum;
    }
  }
}

template <int channels>
void run_grad_input_live(const Call& call, const GradInputView& view) {
  const ConvGeometry& g = view.e.g;
  const std::int64_t blocks = (g.c + channels - 1) / channels;
  const std::int32_t all = (g.h + g.pad_top + 1) / 2;  // steps of an image
  // Two blocks a multiprocessor of a large GPU, but the filters and the first lists of a part should not be most of its work.
  const std::int64_t wanted = std::max<std::int64_t>(1, 2 * 132 / std::max<std::int64_t>(1, g.n * blocks));
  const auto most = static_cast<std::int32_t>(std::min<std::int64_t>(wanted, (all + 3) / 4));
  const std::int32_t steps = (all + most - 1) / most, parts = (all + steps - 1) / steps;
  const std::int32_t slots = live_rows_back(g) + 2;
  const LiveInput v{.g = g,
                    .by_w = Divider(g.w),
                    .by_k = Divider(g.k),
                    .by_slots = Divider(slots),
                    .by_parts = Divider(parts),
                    .slots = slots,
                    .parts = parts,
                    .steps = steps,
                    .gy = view.dz.undo.gy,
                    .filter = view.filter,
                    .mask = static_cast<const std::uint8_t*>(view.dz.undo.saved),
                    .scale = view.dz.undo.scale,
                    .gx = view.gx};
  launch(call, grad_input_live<channels>, dim3(static_cast<unsigned>(g.n * parts), static_cast<unsigned>(blocks)),
         dim3(LiveInputTile::threads), sizeof(LiveInputStorage), v);
}

/// takes_live_input() holds.
inline void run_grad_input_live(const Call& call, const GradInputView& view) {
  if (view.rows * view.columns == 0) return;
  switch (live_channels(view.e.g)) {
    case 32:
      return run_grad_input_live<32>(call, view);
    case 16:
      return run_grad_input_live<16>(call, view);
    default:
      return run_grad_input_live<8>(call, view);
  }
}

}  // namespace tenon::cuda
