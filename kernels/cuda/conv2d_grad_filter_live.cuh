// The filter gradient of a convolution whose epilogue ends in a 2x2 max-pool, in canonical order:
//   gfilter(ky, kx, c, k) = sum over samples and positions of dz(position, k) x(position * stride + tap * dilation - pad, c)
//   gbias(k)              = sum over samples and positions of dz
// one chain per group of samples over (n, oh, ow) ascending. In a cell of the pool at most one of four positions has a dz, so what is
// summed is a list of live terms per filter, and dead ones, which are most, cost nothing.
//
// Layout. Shared memory has 32 channels of the lines of an image that some pooled rows reach (a band), padding and all, so that a
// tap is an offset. A band's list of a filter says of each live term where its pixel lies and what dz is. The upper positions of all
// cells of a pooled row come before the lower ones.
//
// A block has 9 taps, 32 channels, 8 filters and the samples of a group. Six warps sum: a warp has 3 taps and 4 filters, of which
// each takes eight lanes of four channels, so that a quarter of a warp, which shared memory serves at once, reads a pixel's 32
// neighbours, whichever pixel that is: there is no conflict of banks. Filters walk their own lists; that of one is short where that
// of another is long. Two warps write the lists of the next band meanwhile, whose lines come by cp.async.
//
// A list is filled up to a multiple of four by terms of 0 dz, whose pixel is the band's first one: the bits are the same for finite x
// (kernels/common/order.hpp). Error: that of the chains, as on the CPU. Chunks are joined by join_chunks.
#pragma once
#include "kernels/cuda/conv2d_grad_filter_pooled.cuh"

namespace tenon::cuda {

/// A block's share, and how much of an image it has room for.
template <int pixels_, int cells_>
struct LiveTile {
  static constexpr int channels = 32, filters = 8, taps = 9, warp_taps = 3, warp_filters = 4;
  static constexpr int listing = filters / warp_filters, summing = listing * (taps / warp_taps);  // warps
  static constexpr int threads = (summing + listing) * 32;
  static constexpr int pixels = pixels_, cells = cells_;  // of a band, and as many terms of a filter at most
  static constexpr int unroll = 4;                        // terms; lists are multiples of it
  static_assert(cells % unroll == 0);
};
using UsualLiveTile = LiveTile<352, 80>;

template <class T>
struct LiveStorage {
  Shared<float, 2 * T::pixels * T::channels> x;
  Shared<unsigned, 2 * T::filters * T::cells * 2> terms;  // offset of the pixel in x, dz
  Shared<int, 2 * T::filters> counts;
};
static_assert(sizeof(LiveStorage<UsualLiveTile>) <= 99 * 1024);

/// True where the filter gradient sums live terms only: channels are copied by fours, and a row of cells fits.
static constexpr bool takes_live_terms(const ConvGeometry& g) {
  return g.pool && g.mask && g.groups == 1 && g.c % 4 == 0 && g.c >= 8 && g.ph > 0 && g.pw > 0 &&
         g.pw <= UsualLiveTile::cells && std::int64_t{cells_width(g)} * cells_height(g, 1) <= UsualLiveTile::pixels;
}

/// A band of a sample.
struct Band {
  std::int32_t n, py, rows;
};
__device__ inline Band next_band(const PooledGradient& v, const Band& b) {
  Band next = b;
  next.py += v.band;
  if (next.py >= v.g.ph) {
    next.py = 0;
    ++next.n;
  }
  next.rows = v.g.ph - next.py < v.band ? v.g.ph - next.py : v.band;
  return next;
}

/// Starts to copy the band's lines, 32 channels from c0 on, to shared memory; zeros outside.
template <class T>
__device__ void copy_band(const PooledGradient& v, LiveStorage<T>& shared, int buffer, const Band& b, std::int32_t c0) {
  constexpr int quads = T::channels / 4, step = T::threads / quads;
  const auto thread = static_cast<int>(threadIdx.x);
  const std::int32_t c = c0 + thread % quads * 4;
  const std::int32_t pixels = cells_height(v.g, b.rows) * v.width, y0 = b.py * 2 * v.g.stride_h - v.g.pad_top;
  const float* image = v.x + std::int64_t{b.n} * v.g.h * v.g.w * v.g.c;
  for (std::int32_t pixel = thread / quads; pixel < pixels; pixel += step) {
    std::int32_t x = pixel;
    const std::int32_t y = y0 + v.by_width.split(x);
    x -= v.g.pad_left;
    const bool inside = c < v.g.c && y >= 0 && y < v.g.h && x >= 0 && x < v.g.w;
    const float* from = inside ? image + (std::int64_t{y} * v.g.w + x) * v.g.c + c : image;
    cp_async_16(shared.x.at((buffer * T::pixels + pixel) * T::channels + thread % quads * 4), from, inside);
  }
}

/// A warp writes the lists of four filters, k and those behind it. Its lanes are neighbours in a row of positions.
template <class T>
__device__ void list_terms(const PooledGradient& v, LiveStorage<T>& shared, int buffer, const Band& b, int quad,
                           std::int32_t k) {
  constexpr int together = 4, filters = T::warp_filters;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const unsigned before = (1u << lane) - 1;
  const int slots = 2 * b.rows * v.g.pw;
  const std::int64_t base = (std::int64_t{b.n} * v.g.ph + b.py) * v.g.pw * v.g.k + k;
  const int first_list = buffer * T::filters + quad * filters;
  int count[filters] = {};
  for (int first = 0; first < slots; first += 32 * together) {
    float gy[together][filters];
    std::uint8_t position[together][filters];
#pragma unroll
    for (int u = 0; u < together; ++u) {
#pragma unroll
      for (int f = 0; f < filters; ++f) position[u][f] = op::Epilogue::killed;
      std::int32_t px = first + u * 32 + lane;
      if (px >= slots) continue;
      const std::int32_t line = v.by_pw.split(px);
      const std::int64_t at = base + (line / 2 * v.g.pw + px) * v.g.k;
      if (v.g.k % 4 == 0) {
        if (k >= v.g.k) continue;
        read_four(v.gy + at, gy[u]);
        const uchar4 m = *reinterpret_cast<const uchar4*>(v.mask + at);
        position[u][0] = m.x;
        position[u][1] = m.y;
        position[u][2] = m.z;
        position[u][3] = m.w;
      } else {
#pragma unroll
        for (int f = 0; f < filters; ++f) {
          if (k + f >= v.g.k) continue;
          gy[u][f] = v.gy[at + f];
          position[u][f] = v.mask[at + f];
        }
      }
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      std::int32_t px = first + u * 32 + lane;
      const std::int32_t line = v.by_pw.split(px);
      const int right = v.g.stride_w * T::channels;
      const int offset = line * v.g.stride_h * v.width * T::channels + 2 * px * right;
#pragma unroll
      for (int f = 0; f < filters; ++f) {
        const bool live = position[u][f] / 2 == line % 2;
        const unsigned set = __ballot_sync(whole_warp, live);
        if (live) {
          const int at = ((first_list + f) * T::cells + count[f] + __popc(set & before)) * 2;
          shared.terms[at] = static_cast<unsigned>(offset + position[u][f] % 2 * right);
          shared.terms[at + 1] = __float_as_uint(gy[u][f] * v.scale);
        }
        count[f] += __popc(set);
      }
    }
  }
#pragma unroll
  for (int f = 0; f < filters; ++f) {
    const int full = (count[f] + T::unroll - 1) / T::unroll * T::unroll;
    if (lane < full - count[f]) {
      const int at = ((first_list + f) * T::cells + count[f] + lane) * 2;
      shared.terms[at] = shared.terms[at + 1] = 0u;
    }
    if (lane == 0) shared.counts[first_list + f] = full;
  }
}

template <class T>
__global__ void __launch_bounds__(T::threads, 2) grad_filter_live(PooledGradient v) {
  constexpr int taps = T::warp_taps;
  LiveStorage<T>& shared = shared_storage<LiveStorage<T>>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp_number = static_cast<int>(threadIdx.x) / 32;
  const ConvGeometry& g = v.g;
  const std::int32_t all_taps = g.kh * g.kw, tap_blocks = (all_taps + T::taps - 1) / T::taps;
  const auto block = static_cast<std::int32_t>(blockIdx.x);
  const std::int32_t c0 = block / tap_blocks * T::channels;
  const std::int32_t k0 = static_cast<std::int32_t>(blockIdx.y) * T::filters;
  const std::int64_t chunk = blockIdx.z;

  // Of a warp that sums: its four filters, its taps, and of a lane its filter.
  const bool lists = warp_number >= T::summing;
  const int quad = warp_number % T::listing, filter = quad * T::warp_filters + lane / 8;
  const std::int32_t tap0 = block % tap_blocks * T::taps + warp_number / T::listing * taps;
  int tap_at[taps];
#pragma unroll
  for (int t = 0; t < taps; ++t) {
    const std::int32_t tap = tap0 + t < all_taps ? tap0 + t : 0, ky = tap / g.kw;
    tap_at[t] = (ky * g.dilation_h * v.width + (tap - ky * g.kw) * g.dilation_w) * T::channels + lane % 8 * 4;
  }

  float sums[taps][4] = {}, bias = 0.f;
  const auto first_sample = static_cast<std::int32_t>(chunk * order::sample_group);
  const std::int64_t left = g.n - first_sample;
  const std::int32_t end =
      first_sample + static_cast<std::int32_t>(left < order::sample_group ? left : order::sample_group);
  Band band{first_sample, 0, v.band};
  copy_band(v, shared, 0, band, c0);
  cp_async_commit();
  if (lists) list_terms(v, shared, 0, band, quad, k0 + quad * T::warp_filters);
  for (int buffer = 0; band.n < end; buffer = 1 - buffer) {
    cp_async_wait<0>();
    __syncthreads();  // the band is there, and all are done with the one before
    band = next_band(v, band);
    if (band.n < end) {
      copy_band(v, shared, 1 - buffer, band, c0);
      cp_async_commit();
      if (lists) list_terms(v, shared, 1 - buffer, band, quad, k0 + quad * T::warp_filters);
    }
    if (lists || tap0 >= all_taps) continue;
    const int list = (buffer * T::filters + filter) * T::cells * 2;
    const int count = shared.counts[buffer * T::filters + filter];
    const int x = buffer * T::pixels * T::channels;
    for (int i = 0; i < count; i += T::unroll) {
      const uint4 two = load_4(shared.terms.at(list + i * 2)), more = load_4(shared.terms.at(list + i * 2 + 4));
      const unsigned offset[T::unroll] = {two.x, two.z, more.x, more.z};
      const unsigned bits[T::unroll] = {two.y, two.w, more.y, more.w};
#pragma unroll
      for (int j = 0; j < T::unroll; ++j) {
        const int at = x + static_cast<int>(offset[j]);
        const float dz = __uint_as_float(bits[j]);
        bias += dz;
#pragma unroll
        for (int t = 0; t < taps; ++t) {
          const float4 four = load_4(shared.x.at(at + tap_at[t]));
          sums[t][0] = __fmaf_rn(four.x, dz, sums[t][0]);
          sums[t][1] = __fmaf_rn(four.y, dz, sums[t][1]);
          sums[t][2] = __fmaf_rn(four.z, dz, sums[t][2]);
          sums[t][3] = __fmaf_rn(four.w, dz, sums[t][3]);
        }
      }
    }
  }
  const std::int32_t k = k0 + filter;
  if (lists || k >= g.k) return;
#pragma unroll
  for (int t = 0; t < taps; ++t) {
    const std::int32_t c = c0 + lane % 8 * 4;
    if (tap0 + t >= all_taps || c >= g.c) break;
    const std::int64_t row = std::int64_t{tap0 + t} * g.c + c;
    float* to = v.chunks > 1 ? v.partial + (chunk * v.rows + row) * g.k + k : v.gfilter + row * g.k + k;
#pragma unroll
    for (int e = 0; e < 4; ++e) to[std::int64_t{e} * g.k] = sums[t][e];
  }
  if (v.gbias != nullptr && block == 0 && warp_number < T::listing && lane % 8 == 0) {
    if (v.chunks > 1)
      v.partial[(chunk * v.rows + std::int64_t{all_taps} * g.c) * g.k + k] = bias;
    else
      v.gbias[k] = bias;
  }
}

/// The view with the chunks of canonical order; takes_live_terms() holds.
template <class T>
void run_grad_filter_live(const Call& call, const ConvGeometry& g, const GradFilterView& view) {
  if (g.n == 0 || g.k == 0) return run_contraction(call, view);  // zeros
  const auto fits = [&](std::int32_t rows) {
    return cells_width(g) * cells_height(g, rows) <= T::pixels && rows * g.pw <= T::cells;
  };
  std::int32_t most = 1;
  while (most < g.ph && fits(most + 1)) ++most;
  const std::int32_t bands = (g.ph + most - 1) / most;
  // About as many rows in all bands.
  const PooledGradient v = pooled_gradient(call, view, (g.ph + bands - 1) / bands);
  const auto blocks = [](std::int64_t n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const dim3 grid(blocks(g.kh * g.kw, T::taps) * blocks(g.c, T::channels), blocks(g.k, T::filters),
                  static_cast<unsigned>(view.chunks));
  launch(call, grad_filter_live<T>, grid, dim3(T::threads), sizeof(LiveStorage<T>), v);
  if (view.chunks > 1) run_join(call, view);
}

}  // namespace tenon::cuda
