// The filter gradient of a convolution with few channels in canonical order (kernels/common/order.hpp): of each group of samples every
// (tap, channel, filter) is one chain of FMAs over (n, oy, ox), and the bias one of additions; a second kernel joins the groups.
//
// There are few chains, and each is as long as its group has positions, so that what counts is that a chain goes on every four cycles,
// which is how long an FMA takes. A thread has a row of taps, (ky, c), for one filter: as many chains as taps, which share dz and the x that
// slides past them, and reads both from shared memory four positions at a time, one block of positions ahead. One more warp has the
// bias chains. All other warps bring the next stage, some rows of an image, while the chains run through this one.
//
// Shared memory, twice. x: planes by channel and by residue of line and pixel modulo the strides, so that a step of the stride is one
// number and fours are aligned. dz: by filter, with lines as long as those of x, so that one index goes through a stage from its first
// position to its last. Positions behind the end of a line have a dz of 0; those of x there are of the next line.
// Error: that of the chains, as on the CPU: the bits are the same.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/conv2d_few.cuh"

namespace tenon::cuda {
namespace {

constexpr int producers = FewChains::producers;

struct Chains {
  ConvGeometry g;
  FewChains cut;
  Undo undo;
  Divider by_pitch, by_plane, by_planes_of_channel, by_stride_w;
  Saved saved;
  std::int32_t bands, rows, items, chain_warps, bias_warps, quads;
  bool alone;  // a single warp has chains: it shares its quarter of the multiprocessor with none
  const float* x;
  float *gfilter, *gbias, *partial;  // gbias may be null; partial [group, row, filter] is null where there is one group

  /// Of stage `stage` of a group: its sample, its first row and how many there are.
  struct Stage {
    std::int64_t n;
    std::int32_t oy, rows;
    int steps;  // positions, lines filled up, in whole blocks
  };
  [[nodiscard]] __device__ Stage stage(std::int64_t first, std::int32_t i) const {
    Stage s;
    const std::int32_t sample = i / bands;
    s.n = first + sample;
    s.oy = (i - sample * bands) * cut.rows;
    s.rows = g.oh - s.oy < cut.rows ? g.oh - s.oy : cut.rows;
    s.steps = (s.rows * cut.pitch + FewChains::ahead - 1) / FewChains::ahead * FewChains::ahead;
    return s;
  }
  __device__ void put(std::int64_t group, std::int64_t row, std::int32_t k, float v) const {
    if (partial != nullptr)
      partial[(group * rows + row) * g.k + k] = v;
    else if (row < rows - (g.bias ? 1 : 0))
      gfilter[row * g.k + k] = v;
    else
      gbias[k] = v;
  }
};

struct ChainsStorage {
  Shared<float, FewChains::numbers> v;  // x of both stages, dz of both
};

/// Brings a stage: `id` is the number of a producer.
template <class Array>
__device__ void fill(const Chains& v, Array& shared, const Chains::Stage& s, int x_at, int dz_at, std::int32_t k0,
                     int id) {
  constexpr int together = 4;
  const ConvGeometry& g = v.g;
  // Neighbours have the fours of filters of a position, whose number is a power of two.
  const int quad = id % v.quads * 4, step = producers / v.quads;
  const std::int64_t sample = s.n * g.ph * g.pw * g.k + k0 + quad;
  for (int from = id / v.quads; from < s.steps; from += step * together) {
    FewGradient part[together];
#pragma unroll
    for (int u = 0; u < together; ++u) {
      std::int32_t ox = from + u * step;
      const bool some = ox < s.steps && k0 + quad < g.k;
      const std::int32_t oy = v.by_pitch.split(ox);
      part[u].fetch(v.undo, v.saved, sample, few_place(g, v.saved, s.oy + oy, ox), some && ox < g.ow && oy < s.rows);
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int i = from + u * step;
      float dz[4];
      part[u].undone(v.undo, v.saved, dz);
#pragma unroll
      for (int q = 0; q < 4; ++q)
        if (i < s.steps) shared[dz_at + (quad + q) * v.cut.dz + i] = dz[q];
    }
  }

  const float* image = v.x + s.n * g.h * g.w * g.c;
  const std::int32_t y0 = s.oy * g.stride_h - g.pad_top;
  const int all = v.cut.planes * v.cut.plane;
  for (int from = id; from < all; from += producers * together) {
    float value[together];
#pragma unroll
    for (int u = 0; u < together; ++u) {
      std::int32_t column = from + u * producers;
      const bool some = column < all;
      std::int32_t residue = v.by_plane.split(column);
      const std::int32_t line = v.by_pitch.split(column), c = v.by_planes_of_channel.split(residue);
      const std::int32_t residue_y = v.by_stride_w.split(residue);
      const std::int32_t iy = y0 + line * g.stride_h + residue_y, ix = column * g.stride_w + residue - g.pad_left;
      const bool there = some && iy >= 0 && iy < g.h && ix >= 0 && ix < g.w;
      value[u] = there ? image[(iy * g.w + ix) * g.c + c] : 0.f;
    }
#pragma unroll
    for (int u = 0; u < together; ++u)
      if (from + u * producers < all) shared[x_at + from + u * producers] = value[u];
  }
}

/// So many fours from shared memory.
template <int fours, class Array>
__device__ void read_fours(Array& shared, int at, float* v) {
#pragma unroll
  for (int i = 0; i < fours; ++i) {
    const float4 q = load_4(shared.at(at + i * 4));
    v[i * 4] = q.x;
    v[i * 4 + 1] = q.y;
    v[i * 4 + 2] = q.z;
    v[i * 4 + 3] = q.w;
  }
}

/// Goes through a stage block by block: read(position, part) brings one into registers, add(part) runs the chains through it. The next
/// block is read while one is used.
template <class Part, int block, class Read, class Add>
__device__ void walk(int steps, const Read& read, const Add& add) {
  static_assert(FewChains::ahead % (2 * block) == 0);
  Part even, odd;
  read(0, even);
  for (int at = 0; at < steps; at += 2 * block) {
    read(at + block, odd);
    add(even);
    const int next = at + 2 * block;
    read(next < steps ? next : 0, even);  // one too many, of what is there
    add(odd);
  }
}

template <int fours>
struct DzPart {
  float dz[fours * 4];
};

template <int taps, int stride>
__global__ void __launch_bounds__(FewChains::most_threads, 1) sum_few_chains(Chains v) {
  constexpr int fours = stride == 1 && taps == 3 ? 4 : 2, block = fours * 4;
  constexpr int x_fours = fours + ((taps - 1) / stride + 3) / 4;  // that the taps reach, in each plane
  struct Part {
    float x[stride][x_fours * 4], dz[block];
  };
  auto& shared = shared_storage<ChainsStorage>().v;
  const ConvGeometry& g = v.g;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t group = blockIdx.x, first = group * order::sample_group;
  const std::int64_t left = g.n - first;
  const auto stages =
      static_cast<std::int32_t>(left < order::sample_group ? left : std::int64_t{order::sample_group}) * v.bands;
  const std::int32_t k0 = static_cast<std::int32_t>(blockIdx.y) * v.cut.filters;
  const int x_size = v.cut.planes * v.cut.plane, dz_size = v.cut.filters * v.cut.dz;

  // Warps with chains, that of the bias, and producers. Every fourth warp is of one quarter of the multiprocessor.
  const int warp_number = thread / 32, lane = thread % 32;
  const int other = v.alone ? warp_number - 1 - warp_number / 4 : warp_number - v.chain_warps;
  const bool idle = v.alone && warp_number > 0 && warp_number % 4 == 0;
  const bool has_chains = thread < v.items,
             has_bias = !idle && other == 0 && lane < v.bias_warps * v.cut.filters && warp_number >= v.chain_warps;
  const int producer = idle || warp_number < v.chain_warps ? -1 : (other - v.bias_warps) * 32 + lane;
  const int filter = (has_bias ? lane : thread) % v.cut.filters;
  const std::int32_t row = thread / v.cut.filters, ky = row / g.c, c = row - ky * g.c;
  const std::int32_t reach = ky * g.dilation_h, line = reach / g.stride_h;
  const int my_x = ((c * g.stride_h + reach - line * g.stride_h) * stride) * v.cut.plane + line * v.cut.pitch;
  const int my_dz = 2 * x_size + filter * v.cut.dz;

  float sums[taps] = {};
  for (std::int32_t i = -1; i < stages; ++i) {  // the first turn has nothing but producers
    const int odd = i & 1, x_at = odd * x_size, dz_at = odd * dz_size;
    if (producer >= 0) {
      if (i + 1 < stages)
        fill(v, shared, v.stage(first, i + 1), (1 - odd) * x_size, 2 * x_size + (1 - odd) * dz_size, k0, producer);
    } else if (i >= 0 && has_chains) {
      walk<Part, block>(
          v.stage(first, i).steps,
          [&](int at, Part& p) {
            read_fours<fours>(shared, my_dz + dz_at + at, p.dz);
#pragma unroll
            for (int s = 0; s < stride; ++s) read_fours<x_fours>(shared, my_x + x_at + s * v.cut.plane + at, p.x[s]);
          },
          [&](const Part& p) {
#pragma unroll
            for (int j = 0; j < block; ++j)
#pragma unroll
              for (int t = 0; t < taps; ++t) sums[t] = __fmaf_rn(p.x[t % stride][j + t / stride], p.dz[j], sums[t]);
          });
    } else if (i >= 0 && has_bias) {
      walk<DzPart<fours>, block>(
          v.stage(first, i).steps,
          [&](int at, DzPart<fours>& p) { read_fours<fours>(shared, my_dz + dz_at + at, p.dz); },
          [&](const DzPart<fours>& p) {
#pragma unroll
            for (int j = 0; j < block; ++j) sums[0] += p.dz[j];
          });
    }
    __syncthreads();
  }

  const std::int32_t k = k0 + filter;
  if (k >= g.k) return;
  if (has_chains) {
#pragma unroll
    for (int t = 0; t < taps; ++t)
      if (t < g.kw) v.put(group, (std::int64_t{ky} * g.kw + t) * g.c + c, k, sums[t]);
  } else if (has_bias) {
    v.put(group, v.rows - 1, k, sums[0]);
  }
}

/// The pair tree over at most joined_groups groups, all of which are under way at once; a thread has one sum.
constexpr std::int64_t joined_groups = 32;
__global__ void __launch_bounds__(64) few_chains_join(Chains v, std::int64_t groups) {
  const std::int64_t sums = std::int64_t{v.rows} * v.g.k, i = global_thread();
  if (i >= sums) return;
  float part[joined_groups];
#pragma unroll
  for (int g = 0; g < joined_groups; ++g) part[g] = g < groups ? v.partial[g * sums + i] : 0.f;
#pragma unroll
  for (int apart = 1; apart < joined_groups; apart *= 2)
#pragma unroll
    for (int g = 0; g < joined_groups; g += 2 * apart)
      if (g + apart < groups) part[g] += part[g + apart];
  const std::int64_t taps = sums - (v.g.bias ? v.g.k : 0);
  if (i < taps)
    v.gfilter[i] = part[0];
  else
    v.gbias[i - taps] = part[0];
}

}  // namespace

void conv2d_few_chains(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const GradFilterView view = grad_filter_view(call, g);
  constexpr std::int64_t wanted_blocks = 100, wanted_steps = 1024;
  const auto blocks = [&](std::int32_t filters) { return view.chunks * ((g.k + filters - 1) / filters); };
  // As many filters as leave enough blocks, and rows of a stage, which take about as long as memory does.
  std::int32_t filters = 4, rows = 1;
  while (filters < 32 && 2 * filters * g.kh * g.c <= FewChains::most_items && blocks(2 * filters) >= wanted_blocks &&
         few_chains(g, 2 * filters, 1).fit())
    filters *= 2;
  while (rows < g.oh && few_chains(g, filters, rows + 1).fit() &&
         few_chains(g, filters, rows + 1).dz * (filters / 4) <= wanted_steps)
    ++rows;
  const FewChains cut = few_chains(g, filters, rows);
  const std::int32_t items = g.kh * g.c * filters, chain_warps = (items + 31) / 32, bias_warps = g.bias ? 1 : 0;
  Chains v{.g = g,
           .cut = cut,
           .undo = view.dz.undo,
           .by_pitch = Divider(cut.pitch),
           .by_plane = Divider(cut.plane),
           .by_planes_of_channel = Divider(g.stride_h * g.stride_w),
           .by_stride_w = Divider(g.stride_w),
           .saved = saved_of(g),
           .bands = (g.oh + rows - 1) / rows,
           .rows = static_cast<std::int32_t>(view.rows),
           .items = items,
           .chain_warps = chain_warps,
           .bias_warps = bias_warps,
           .quads = filters / 4,
           .alone = chain_warps == 1,
           .x = view.x,
           .gfilter = view.gfilter,
           .gbias = view.gbias,
           .partial = view.chunks > 1 ? static_cast<float*>(call.workspace) : nullptr};
  const dim3 grid(static_cast<unsigned>(view.chunks), static_cast<unsigned>((g.k + filters - 1) / filters));
  const std::int32_t others = bias_warps + producers / 32, idle = v.alone ? (others - 1) / 3 : 0;
  const dim3 block(static_cast<unsigned>((chain_warps + others + idle) * 32));
  // By the width of the filter and the stride.
  static constexpr void (*kernels[3][2])(Chains) = {
      {sum_few_chains<3, 1>, sum_few_chains<3, 2>}, {sum_few_chains<5, 1>, sum_few_chains<5, 2>}, {sum_few_chains<7, 1>, sum_few_chains<7, 2>}};
  const int width = g.kw <= 3 ? 0 : g.kw <= 5 ? 1 : 2;
  launch(call, kernels[width][g.stride_w - 1], grid, block, sizeof(ChainsStorage), v);
  if (view.chunks > joined_groups)
    run_join(call, view);
  else if (view.chunks > 1)
    launch(call, few_chains_join, dim3(static_cast<unsigned>((view.rows * view.columns + 63) / 64)), dim3(64), 0, v,
           view.chunks);
}

}  // namespace tenon::cuda
