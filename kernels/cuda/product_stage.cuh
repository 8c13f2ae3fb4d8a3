// How the kernel of product_tiles.cuh has an operand in shared memory: as it lies in memory, in fp32, brought by cp.async, and made into
// words of the tensor cores by the warp that multiplies them. Nothing passes through registers on the way in, so that a block has all
// of its stages under way at a time, and what is known about an operand (which of its axes are neighbours, whether they are read by
// fours) is looked at at run time: one kernel serves transposed operands and odd extents.
//
// A line is a row of a or a column of b. A panel is 16 terms: lane 4 g + t of a warp takes terms 4 t .. 4 t + 3 of them, on both sides,
// which become two words of 16 bits, or four of tf32 (which terms of a sum meet in a word is ours to choose). It takes the terms of
// 2 or 4 lines, those of its fragments:
//   lines side by side   a row of shared memory is one term; terms 4 t + j lie in row 4 j + t of their panel, and rows 4 or 8 words more
//                        than a multiple of 32 apart, so that a quarter of a warp finds its 8 quads in different banks
//   terms side by side   a slot of 16 words is one line's terms of a panel; a lane reads its four at once, lanes g and g + 1 in
//                        neighbouring slots, panels 16 words more than a multiple of 32 apart
#pragma once
#include <type_traits>

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/ptx.cuh"

namespace tenon::cuda {

/// A stage of an operand: `lines` lines, which warps share by `warp_lines`, and `depth` terms.
template <int lines_, int warp_lines_, int depth_>
struct RawStage {
  static constexpr int lines = lines_, warp_lines = warp_lines_, depth = depth_;
  static constexpr int mine = warp_lines / 8;  // lines of a lane
  static constexpr int pitch = lines + (warp_lines == 32 ? 4 : 8), panel = 16 * lines + 16;
  static constexpr int by_lines_size = depth * pitch, by_terms_size = depth / 16 * panel;
  static constexpr int size = by_lines_size > by_terms_size ? by_lines_size : by_terms_size;
  static_assert((warp_lines == 16 || warp_lines == 32) && lines % warp_lines == 0 && depth % 16 == 0);

  /// Lane (g, t) has the lines from `first(g)` on. Of four, the sums of neighbouring t are neighbours then (product_tiles.cuh).
  __device__ static int first(int g) { return mine == 4 ? g / 2 * 4 + g % 2 * 16 : g * 2; }
  __device__ static int row(int term) { return term / 16 * 16 + term % 4 * 4 + term % 16 / 4; }
  /// The line whose terms a slot has.
  __device__ static int line(int slot) {
    return slot / warp_lines * warp_lines + first(slot % 8) + slot % warp_lines / 8;
  }
};

/// Where an operand's tile lies: line l and term t at data[l line_stride + t term_stride], one of the strides being 1.
struct RawSource {
  const float* data;
  std::int64_t line_stride, term_stride;
  int lines;  // that there are, from the tile's first on
  bool by_lines, fours;
};

/// `width` neighbours of a stage, and where they are in shared memory.
struct RawUnit {
  int line, term, at;
};
template <class Stage, int team, bool by_lines, int width>
struct RawUnits {
  static constexpr int across = (by_lines ? Stage::lines : Stage::depth) / width;
  static constexpr int count = Stage::lines * Stage::depth / (width * team);
  static_assert(team % across == 0 && count * width * team == Stage::lines * Stage::depth);
  /// The u-th of a thread: always the same lines where these are neighbours.
  __device__ static RawUnit unit(int thread, int u) {
    const int along = thread % across * width, other = thread / across + u * (team / across);
    if constexpr (by_lines) return {along, other, Stage::row(other) * Stage::pitch + along};
    return {Stage::line(other), along, along / 16 * Stage::panel + other * 16 + along % 16};
  }
};
/// body(units) for the form that the operand has.
template <class Stage, int team, class Body>
__device__ __forceinline__ void with_units(const RawSource& s, const Body& body) {
  if (s.by_lines) {
    if (s.fours)
      body(RawUnits<Stage, team, true, 4>{}, std::integral_constant<int, 4>{});
    else
      body(RawUnits<Stage, team, true, 1>{}, std::integral_constant<int, 1>{});
  } else {
    if (s.fours)
      body(RawUnits<Stage, team, false, 4>{}, std::integral_constant<int, 4>{});
    else
      body(RawUnits<Stage, team, false, 1>{}, std::integral_constant<int, 1>{});
  }
}

/// Starts to copy terms [begin, begin + depth), as far as they lie before `last`; others, and lines that there are not, are 0. `thread`
/// is of a team that shares the stage.
template <class Stage, int team>
__device__ void copy_raw(const RawSource& s, float* stage, int thread, int begin, int last) {
  with_units<Stage, team>(s, [&](auto units, auto width) {
    using Units = decltype(units);
#pragma unroll
    for (int u = 0; u < Units::count; ++u) {
      const RawUnit at = Units::unit(thread, u);
      const bool there = at.line < s.lines && begin + at.term < last;
      const float* from = s.data + at.line * s.line_stride + (begin + at.term) * s.term_stride;
      if constexpr (width == 4)
        cp_async_16(stage + at.at, from, there);
      else
        cp_async_4(stage + at.at, from, there);
    }
  });
}

/// What has to be known besides to turn gy, as it lies in the stage, into dz: y, or the bytes of the mask. They come to shared memory, too,
/// where only the thread that copied them looks at them; single bytes are read from memory.
struct RawSaved {
  bool any, mask;
  op::UnaryFn activation;
  float alpha, scale;
  const float* y;
  const std::uint8_t* bytes;  // both from the tile's first line on, strided as gy
};
/// Words of a stage that it takes.
template <class Stage>
inline int saved_words(const Undo& undo, bool fours) {
  if (undo.saved == nullptr) return 0;
  const int elements = Stage::lines * Stage::depth;
  return !undo.mask ? elements : fours ? elements / 4 : 0;
}

template <class Stage, int team>
__device__ void copy_saved(const RawSource& s, const RawSaved& saved, float* words, int thread, int begin, int last) {
  with_units<Stage, team>(s, [&](auto units, auto width) {
    using Units = decltype(units);
    if (width == 1 && saved.mask) return;
#pragma unroll
    for (int u = 0; u < Units::count; ++u) {
      const RawUnit at = Units::unit(thread, u);
      const bool there = at.line < s.lines && begin + at.term < last;
      const std::int64_t from = at.line * s.line_stride + (begin + at.term) * s.term_stride;
      if (saved.mask)
        cp_async_4(words + u * team + thread, saved.bytes + from, there);
      else if constexpr (width == 4)
        cp_async_16(words + (u * team + thread) * 4, saved.y + from, there);
      else
        cp_async_4(words + u * team + thread, saved.y + from, there);
    }
  });
}

/// Turns the numbers that this thread copied into dz, where they lie, and adds them to sums of its lines: lines are neighbours there, else
/// the sums mean nothing.
template <class Stage, int team>
__device__ void undo_raw(const RawSource& s, const RawSaved& saved, float* stage, const float* words, int thread,
                         int begin, int last, float sums[4]) {
  with_units<Stage, team>(s, [&](auto units, auto width) {
    using Units = decltype(units);
    const auto for_units = [&](const auto& change) {
#pragma unroll
      for (int u = 0; u < Units::count; ++u) {
        const RawUnit at = Units::unit(thread, u);
        float* const place = stage + at.at;
        float v[4] = {};
        if constexpr (width == 4) {
          const float4 q = load_4(place);
          v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
        } else {
          v[0] = load_1(place);
        }
        if (saved.any) {
          change(at, u, v);
          if constexpr (width == 4)
            store_4(place, make_float4(v[0], v[1], v[2], v[3]));
          else
            store_1(place, v[0]);
        }
#pragma unroll
        for (int j = 0; j < width; ++j) sums[j] += v[j];
      }
    };
    const auto read_y = [&](int u, float y[4]) {
      if constexpr (width == 4) {
        const float4 q = load_4(words + (u * team + thread) * 4);
        y[0] = q.x, y[1] = q.y, y[2] = q.z, y[3] = q.w;
      } else {
        y[0] = load_1(words + u * team + thread);
      }
    };
    const auto there = [&](const RawUnit& at) { return at.line < s.lines && begin + at.term < last; };
    if (saved.mask) {
      for_units([&](const RawUnit& at, int u, float v[4]) {
        unsigned bytes = 0;
        if constexpr (width == 4)
          bytes = __float_as_uint(load_1(words + u * team + thread));
        else if (there(at))
          bytes = saved.bytes[at.line * s.line_stride + (begin + at.term) * s.term_stride];
#pragma unroll
        for (int j = 0; j < width; ++j) v[j] = (bytes >> 8 * j & 0xffu) == 0 ? v[j] * saved.scale : 0.f;
      });
    } else if (!saved.any || saved.activation == op::UnaryFn::relu) {
      for_units([&](const RawUnit&, int u, float v[4]) {
        float y[4];
        read_y(u, y);
#pragma unroll
        for (int j = 0; j < width; ++j) v[j] = y[j] <= 0.f ? 0.f : v[j];
      });
    } else {
      // These take many instructions: a loop that is not unrolled.
#pragma unroll 1
      for (int u = 0; u < Units::count; ++u) {
        const RawUnit at = Units::unit(thread, u);
        if (!there(at)) continue;  // not every function has a slope at 0
#pragma unroll 1
        for (int j = 0; j < width; ++j) {
          float* const place = stage + at.at + j;
          const float v = unary_gradient(saved.activation, saved.alpha, load_1(place),
                                         load_1(words + (u * team + thread) * width + j));
          store_1(place, v);
#pragma unroll
          for (int l = 0; l < width; ++l) sums[l] += l == j ? v : 0.f;
        }
      }
    }
  });
}

/// Terms 4 t .. 4 t + 3 of a panel, of this lane's lines from the warp's `line` on, as words.
template <class Format, class Stage>
__device__ __forceinline__ void load_words(const float* stage, bool by_lines, int line, int panel, int lane,
                                           unsigned words[Stage::mine][4 / Format::terms]) {
  constexpr int mine = Stage::mine;
  const int g = lane / 4, t = lane % 4;
  float v[mine][4];
  if (by_lines) {
    const float* const from = stage + (panel * 16 + t) * Stage::pitch + line + Stage::first(g);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (mine == 4) {
        const float4 q = load_4(from + j * 4 * Stage::pitch);
        v[0][j] = q.x, v[1][j] = q.y, v[2][j] = q.z, v[3][j] = q.w;
      } else {
        const float2 q = load_2(from + j * 4 * Stage::pitch);
        v[0][j] = q.x, v[1][j] = q.y;
      }
    }
  } else {
    const float* const from = stage + panel * Stage::panel + (line + g) * 16 + t * 4;
#pragma unroll
    for (int i = 0; i < mine; ++i) {
      const float4 q = load_4(from + i * 8 * 16);
      v[i][0] = q.x, v[i][1] = q.y, v[i][2] = q.z, v[i][3] = q.w;
    }
  }
#pragma unroll
  for (int i = 0; i < mine; ++i)
#pragma unroll
    for (int w = 0; w < 4 / Format::terms; ++w) words[i][w] = Format::word(v[i] + w * Format::terms);
}

}  // namespace tenon::cuda
