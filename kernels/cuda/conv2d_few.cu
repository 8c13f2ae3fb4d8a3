// conv2d with few channels, in fp32 and in canonical order for every precision: y = epilogue(sum over (ky, kx, c) of
// x(oy * stride + ky * dilation - pad, ..., c) filter(ky, kx, c, k)), one chain of FMAs a sum, in that order.
//
// A block has a band of an image's output rows and 32 filters. The lines of x that the band sees lie in shared memory; filters lie there,
// too, or in registers where their extents are known when this is compiled. A thread has quads of four positions by four filters, the
// four positions being neighbours in a row or the window of a pool, so that the epilogue works in registers. Eight neighbouring threads
// have the same positions: y is written by 128 bytes.
// Error: that of one chain, as on the CPU: the bits are the same. Taps outside the image are terms of 0.
#include "kernels/cuda/conv2d_few.cuh"

#include "kernels/cuda/contraction_runs.hpp"

namespace tenon::cuda {
namespace {

constexpr int threads = FewTile::threads, across = FewTile::filters / 4, slots = threads / across;

struct Few {
  ConvGeometry g;
  FewLines lines;
  Epilogue epilogue;
  const float* filter;
  Divider by_bands, by_quads;
  std::int32_t band, quads;  // rows of y of a block, quads of a row
};

struct FewStorage {
  Shared<float, FewTile::numbers> x;
  Shared<float, FewTile::terms * FewTile::filters> filter;  // [term][filter]
};

/// Filters whose extents are known have their terms in registers; of others, 0 x 0, only the channels are. `plain`: the epilogue is at
/// most a bias and relu, and needs neither the code nor the registers of all others.
template <int kh, int kw, int channels, bool plain>
__global__ void __launch_bounds__(threads, plain ? 3 : 2) few(Few v) {
  constexpr int known = kh * kw * channels;
  auto& shared = shared_storage<FewStorage>();
  const ConvGeometry& g = v.g;
  const int thread = static_cast<int>(threadIdx.x), column = thread % across * 4;
  const std::int32_t k0 = static_cast<std::int32_t>(blockIdx.y) * FewTile::filters, k = k0 + column;
  auto row0 = static_cast<std::int32_t>(blockIdx.x);
  const std::int64_t n = v.by_bands.split(row0);
  row0 *= v.band;
  const std::int32_t rows = g.ph - row0 < v.band ? g.ph - row0 : v.band, step = g.pool ? 2 : 1;

  float filter[known > 0 ? known : 1][4] = {};
  if constexpr (known > 0) {
    if (k < g.k) {
#pragma unroll
      for (int t = 0; t < known; ++t) read_four(v.filter + t * g.k + k, filter[t]);
    }
  } else {
    const int quads = g.kh * g.kw * channels * across;
    for (int i = thread; i < quads; i += threads) {
      float four[4] = {};
      if (k < g.k) read_four(v.filter + static_cast<std::int64_t>(i / across) * g.k + k, four);
      store_4(shared.filter.at(i * 4), make_float4(four[0], four[1], four[2], four[3]));
    }
  }
  float bias[4] = {};
  if (plain && v.epilogue.bias != nullptr && k < g.k) read_four(v.epilogue.bias + k, bias);
  v.lines.load<threads>(shared.x, n, row0 * step * g.stride_h - g.pad_top, few_lines(g, rows * step));
  __syncthreads();

  const int line = v.lines.line, right = g.stride_w * channels, down = g.stride_h * line;
  for (int item = thread / across; item < rows * v.quads; item += slots) {
    std::int32_t x = item;
    const std::int32_t y = v.by_quads.split(x);
    int at[4];  // of the windows' corners
    at[0] = y * step * down + x * (g.pool ? 2 : 4) * right;
    at[1] = at[0] + right;
    at[2] = at[0] + (g.pool ? down : 2 * right);
    at[3] = at[2] + right;
    Quad z = {};
    const auto add = [&](int offset, const float w[4]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float value = shared.x[at[i] + offset];
#pragma unroll
        for (int j = 0; j < 4; ++j) z.sum[i][j] = __fmaf_rn(value, w[j], z.sum[i][j]);
      }
    };
    const auto next_line = [&] {
#pragma unroll
      for (int i = 0; i < 4; ++i) at[i] += g.dilation_h * line;
    };
    if constexpr (known > 0) {
#pragma unroll
      for (int ky = 0; ky < kh; ++ky) {
#pragma unroll
        for (int t = 0; t < kw * channels; ++t) add(t, filter[ky * kw * channels + t]);
        next_line();
      }
    } else {
      int term = column;
      for (std::int32_t ky = 0; ky < g.kh; ++ky) {
#pragma unroll 2
        for (std::int32_t kx = 0; kx < g.kw; ++kx)
#pragma unroll
          for (int c = 0; c < channels; ++c) {
            const float4 w = load_4(shared.filter.at(term));
            const float four[4] = {w.x, w.y, w.z, w.w};
            add(kx * g.dilation_w * channels + c, four);
            term += FewTile::filters;
          }
        next_line();
      }
    }
    if (k >= g.k) continue;
    const std::int64_t first = (n * g.ph + row0 + y) * g.pw;  // of y's row
    if constexpr (plain) {
      float* to = v.epilogue.y + (first + x * 4) * g.k + k;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (x * 4 + i >= g.pw) break;
        float four[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          four[j] = v.epilogue.bias != nullptr ? z.sum[i][j] + bias[j] : z.sum[i][j];
          if (v.epilogue.relu) four[j] = pointwise::Relu<math::Scalar>::value(four[j]);
        }
        *reinterpret_cast<float4*>(to + i * g.k) = make_float4(four[0], four[1], four[2], four[3]);
      }
    } else if (g.pool) {
      v.epilogue.finish((first + x) * 4, (first + g.pw) * 4, k, g.k, z);
    } else {
      v.epilogue.finish(first + x * 4, first + g.pw, k, g.k, z);
    }
  }
}

/// The epilogue is at most a bias and relu.
bool is_plain(const ConvGeometry& g) {
  const auto activation = static_cast<op::UnaryFn>(g.activation);
  return !g.pool && !g.mask && (activation == op::UnaryFn::identity || activation == op::UnaryFn::relu);
}
template <int kh, int kw, int channels>
void run(const Call& call, const Few& v, dim3 grid) {
  const auto start = [&](auto* kernel) { launch(call, kernel, grid, dim3(threads), sizeof(FewStorage), v); };
  is_plain(v.g) ? start(few<kh, kw, channels, true>) : start(few<kh, kw, channels, false>);
}

}  // namespace

void conv2d_few(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const std::int64_t wave = is_plain(g) ? 396 : 264;  // blocks that a large GPU has at once
  const std::int32_t step = g.pool ? 2 : 1, columns = few_columns(g), quads = g.pool ? g.pw : columns / 4;
  const std::int64_t tiles = (g.k + FewTile::filters - 1) / FewTile::filters;
  const auto bands = [&](std::int32_t band) { return (g.ph + band - 1) / band; };
  // Rows of a block: what takes the least time, in rounds of its threads; a wave of blocks starts in about two.
  const auto time = [&](std::int32_t band) {
    return (g.n * bands(band) * tiles + wave - 1) / wave * (2 + (band * quads + slots - 1) / slots);
  };
  std::int32_t band = 1;
  for (std::int32_t more = 2; more <= g.ph && few_fit(g, more * step, columns); ++more)
    if (time(more) < time(band)) band = more;
  const Few v{.g = g,
              .lines = FewLines(g, static_cast<const float*>(call.in[0]), columns),
              .epilogue = forward_view(call, g).epilogue,
              .filter = static_cast<const float*>(call.in[1]),
              .by_bands = Divider(bands(band)),
              .by_quads = Divider(quads),
              .band = band,
              .quads = quads};
  const dim3 grid(static_cast<unsigned>(g.n * bands(band)), static_cast<unsigned>(tiles));
  if (g.kh == 3 && g.kw == 3 && g.c == 1 && g.dilation_w == 1) return run<3, 3, 1>(call, v, grid);
  switch (g.c) {
    case 1:
      return run<0, 0, 1>(call, v, grid);
    case 2:
      return run<0, 0, 2>(call, v, grid);
    case 3:
      return run<0, 0, 3>(call, v, grid);
    default:
      return run<0, 0, 4>(call, v, grid);
  }
}

}  // namespace tenon::cuda
