// How the kernel of product_tiles.cuh has an operand in shared memory: as it lies in memory, in fp32, brought by cp.async, and made into
// words of the tensor cores by the warp that multiplies them. Nothing passes through registers on the way in, so that a block has all
// of its stages under way at a time. Code is kept short, because a kernel of five microseconds runs most of its instructions once, and
// each of them has to be fetched: operands in their usual form have kernels in which that form is a constant, for all others
// (transposed, or not by fours) it is a number in registers.
//
// A line is a row of a or a column of b. A panel is 16 terms: lane 4 g + t of a warp takes terms 4 t .. 4 t + 3 of them, on both sides,
// which become two words of 16 bits, or four of tf32 (which terms of a sum meet in a word is ours to choose). It takes the terms of
// 2 or 4 lines, those of its fragments:
//   lines side by side   a row of shared memory is one term; terms 4 t + j lie in row 4 j + t of their panel, and rows 4 or 8 words more
//                        than a multiple of 32 apart, so that a quarter of a warp finds its 8 quads in different banks
//   terms side by side   a slot of 16 words is one line's terms of a panel; a lane reads its four at once, lanes g and g + 1 in
//                        neighbouring slots, panels 16 words more than a multiple of 32 apart
#pragma once
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/ptx.cuh"

namespace tenon::cuda {

/// A stage of an operand: `lines` lines, which warps share by `warp_lines`, and `depth` terms, brought by `team` threads.
template <int lines_, int warp_lines_, int depth_, int team_>
struct RawStage {
  static constexpr int lines = lines_, warp_lines = warp_lines_, depth = depth_, team = team_;
  static constexpr int mine = warp_lines / 8;  // lines of a lane
  static constexpr int pitch = lines + (warp_lines == 32 ? 4 : 8), panel = 16 * lines + 16;
  static constexpr int by_lines_size = depth * pitch, by_terms_size = depth / 16 * panel;
  static constexpr int size = by_lines_size > by_terms_size ? by_lines_size : by_terms_size;
  static constexpr int elements = lines * depth, fours = elements / 4 / team, singles = elements / team;  // of a thread
  // Rows or slots that the team brings by fours at a time.
  static constexpr int rows = team / (lines / 4), slots = team / (depth / 4);
  static_assert((warp_lines == 16 || warp_lines == 32) && lines % warp_lines == 0 && depth % 16 == 0);
  static_assert(fours * team * 4 == elements && rows % 4 == 0 && slots % 8 == 0);

  /// Lane (g, t) has the lines from `first(g)` on. Of four, the sums of neighbouring t are neighbours then (product_tiles.cuh).
  __device__ static constexpr int first(int g) { return mine == 4 ? g / 2 * 4 + g % 2 * 16 : g * 2; }
  /// The term that a row has, and the line whose terms a slot has. Both are sums of what the bits of their argument stand for.
  __device__ static constexpr int term(int row) { return row / 16 * 16 + row % 4 * 4 + row % 16 / 4; }
  __device__ static constexpr int line(int slot) {
    return slot / warp_lines * warp_lines + first(slot % 8) + slot % warp_lines / 8;
  }
};

/// What is known of an operand when its kernel is compiled: nothing, or that lines, or terms, are neighbours in memory and read by fours.
enum class RawForm : std::uint8_t { any, lines, terms };

/// An operand's tile in memory, and a thread's place in it: line l and term t are at data[l line_stride + t term_stride], one of the
/// strides being 1.
template <class Stage_, RawForm form>
struct RawOperand {
  using Stage = Stage_;
  const float* data;  // of the tile's first line
  int line_stride, term_stride;
  int lines;       // that there are, from the tile's first on
  int line, term;  // where the thread's first four begins
  int at;          // and where that lies in the stage
  int fragment;    // where the lane's first words of a panel lie
  bool adjoining, fours;

  __device__ RawOperand(const float* data_, std::int64_t line_stride_, std::int64_t term_stride_, std::int64_t left,
                        bool by_lines_, bool by_fours_, int thread, int warp_line, int lane)
      : data(data_),
        line_stride(static_cast<int>(line_stride_)),
        term_stride(static_cast<int>(term_stride_)),
        lines(left < Stage::lines ? static_cast<int>(left) : Stage::lines),
        adjoining(by_lines_),
        fours(by_fours_) {
    const int g = lane / 4, t = lane % 4;
    if (by_lines()) {
      const int row = thread / (Stage::lines / 4);
      line = thread % (Stage::lines / 4) * 4;
      term = Stage::term(row);
      at = row * Stage::pitch + line;
      fragment = t * Stage::pitch + warp_line + Stage::first(g);
    } else {
      const int slot = thread / (Stage::depth / 4);
      line = Stage::line(slot);
      term = thread % (Stage::depth / 4) * 4;
      at = term / 16 * Stage::panel + slot * 16 + term % 16;
      fragment = (warp_line + g) * 16 + t * 4;
    }
  }

  [[nodiscard]] __device__ bool by_lines() const { return form == RawForm::any ? adjoining : form == RawForm::lines; }
  [[nodiscard]] __device__ bool by_fours() const { return form != RawForm::any || fours; }
  /// In words of the stage: from one of the thread's fours to the next, from one of the lane's reads of a panel to the next, and from panel
  /// to panel.
  [[nodiscard]] __device__ int step() const { return by_lines() ? Stage::rows * Stage::pitch : Stage::slots * 16; }
  [[nodiscard]] __device__ int next() const { return by_lines() ? 4 * Stage::pitch : 8 * 16; }
  [[nodiscard]] __device__ int panel() const { return by_lines() ? 16 * Stage::pitch : Stage::panel; }
  /// How many terms or lines, whichever are not neighbours in memory, the u-th four is behind the first.
  [[nodiscard]] __device__ int apart(int u) const {
    return by_lines() ? Stage::term(u * Stage::rows) : Stage::line(u * Stage::slots);
  }
  /// Whether the u-th four exists, of terms that end `left` behind the stage's first.
  [[nodiscard]] __device__ bool there(int u, int left) const {
    return by_lines() ? line < lines && term + apart(u) < left : term < left && line + apart(u) < lines;
  }

  /// Where a line's term is in a matrix of elements of so many bytes that lies as this one.
  template <int bytes>
  [[nodiscard]] __device__ const char* place(const void* base, int l, int t) const {
    return static_cast<const char*>(base) + std::int64_t{l * bytes} * line_stride +
           std::int64_t{t * bytes} * term_stride;
  }
  template <int bytes>
  [[nodiscard]] __device__ const char* four(const char* first, int u) const {
    return first + std::int64_t{apart(u) * bytes} * (by_lines() ? term_stride : line_stride);
  }

  /// body(u, at, line, term, there) for this thread's single elements.
  template <class Body>
  __device__ __forceinline__ void for_singles(int thread, int left, const Body& body) const {
    const int bits = by_lines() ? bits_of(Stage::lines) : bits_of(Stage::depth);
#pragma unroll 1
    for (int u = 0; u < Stage::singles; ++u) {
      const int i = thread + u * Stage::team, along = i & ((1 << bits) - 1), other = i >> bits;
      const int l = by_lines() ? along : Stage::line(other), t = by_lines() ? Stage::term(other) : along;
      const int to = by_lines() ? other * Stage::pitch + along : along / 16 * Stage::panel + other * 16 + along % 16;
      body(u, to, l, t, l < lines && t < left);
    }
  }

 private:
  __device__ static constexpr int bits_of(int power) { return power == 16 ? 4 : power == 32 ? 5 : 6; }
};

/// Starts to copy terms [begin, begin + depth) to the stage, as far as they lie before begin + left; others, and lines that there are
/// not, are 0. `thread` is of the team.
template <class Operand>
__device__ __forceinline__ void copy_raw(const Operand& o, float* stage, int thread, int begin, int left) {
  if (o.by_fours()) {
    const char* const first = o.template place<4>(o.data, o.line, o.term + begin);
#pragma unroll
    for (int u = 0; u < Operand::Stage::fours; ++u)
      cp_async_16(stage + o.at + u * o.step(), o.template four<4>(first, u), o.there(u, left));
  } else {
    o.for_singles(thread, left, [&](int, int at, int line, int term, bool there) {
      cp_async_4(stage + at, o.template place<4>(o.data, line, term + begin), there);
    });
  }
}

/// What turns gy into dz: y, or the bytes of the mask, which lie as gy does. They come along to shared memory, where only the thread that
/// copied them looks at them; single bytes are read from memory.
struct RawSaved {
  bool any, mask, relu;
  op::UnaryFn activation;
  float alpha, scale;
  const void* data;  // of the tile's first line
};
/// Words of a stage that they take.
template <class Stage>
inline int saved_words(const Undo& undo, bool fours) {
  if (undo.saved == nullptr) return 0;
  return !undo.mask ? Stage::elements : fours ? Stage::elements / 4 : 0;
}

template <class Operand>
__device__ __forceinline__ void copy_saved(const Operand& o, const RawSaved& saved, float* words, int thread, int begin,
                                           int left) {
  using Stage = typename Operand::Stage;
  if (!o.by_fours()) {
    if (saved.mask) return;
    o.for_singles(thread, left, [&](int u, int, int line, int term, bool there) {
      cp_async_4(words + u * Stage::team + thread, o.template place<4>(saved.data, line, term + begin), there);
    });
  } else if (saved.mask) {
    const char* const first = o.template place<1>(saved.data, o.line, o.term + begin);
#pragma unroll
    for (int u = 0; u < Stage::fours; ++u)
      cp_async_4(words + u * Stage::team + thread, o.template four<1>(first, u), o.there(u, left));
  } else {
    const char* const first = o.template place<4>(saved.data, o.line, o.term + begin);
#pragma unroll
    for (int u = 0; u < Stage::fours; ++u)
      cp_async_16(words + (u * Stage::team + thread) * 4, o.template four<4>(first, u), o.there(u, left));
  }
}

/// Turns the numbers that this thread copied into dz, where they lie, and adds them to sums of its lines if asked: four of them, or one,
/// where lines are neighbours in memory; else the sums mean nothing.
template <class Operand>
__device__ __forceinline__ void undo_raw(const Operand& o, const RawSaved& saved, float* stage, const float* words,
                                         int thread, int begin, int left, bool adds, float sums[4]) {
  using Stage = typename Operand::Stage;
  if (!o.by_fours()) {
    o.for_singles(thread, left, [&](int u, int at, int line, int term, bool there) {
      if (!there) return;
      float v = load_1(stage + at);
      if (saved.mask) {
        const char* const byte = o.template place<1>(saved.data, line, term + begin);
        v = *byte == 0 ? v * saved.scale : 0.f;
      } else if (saved.any) {
        v = unary_gradient(saved.activation, saved.alpha, v, load_1(words + u * Stage::team + thread));
      }
      if (saved.any) store_1(stage + at, v);
      sums[0] += v;
    });
    return;
  }
  if (saved.any && !saved.mask && !saved.relu) {
    // Functions that take many instructions: one copy of them, in a loop.
#pragma unroll 1
    for (int i = 0; i < Stage::fours * 4; ++i) {
      const int u = i / 4, j = i % 4;
      if (!o.there(u, left)) continue;  // not every function has a slope at 0
      float* const place = stage + o.at + u * o.step() + j;
      store_1(place, unary_gradient(saved.activation, saved.alpha, load_1(place),
                                    load_1(words + (u * Stage::team + thread) * 4 + j)));
    }
  }
#pragma unroll
  for (int u = 0; u < Stage::fours; ++u) {
    float* const place = stage + o.at + u * o.step();
    const float4 q = load_4(place);
    float v[4] = {q.x, q.y, q.z, q.w};
    if (saved.mask) {
      const unsigned bytes = __float_as_uint(load_1(words + u * Stage::team + thread));
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = (bytes & 0xffu << 8 * j) == 0 ? v[j] * saved.scale : 0.f;
      store_4(place, make_float4(v[0], v[1], v[2], v[3]));
    } else if (saved.relu && saved.any) {
      const float4 y = load_4(words + (u * Stage::team + thread) * 4);
      v[0] = y.x <= 0.f ? 0.f : v[0];
      v[1] = y.y <= 0.f ? 0.f : v[1];
      v[2] = y.z <= 0.f ? 0.f : v[2];
      v[3] = y.w <= 0.f ? 0.f : v[3];
      store_4(place, make_float4(v[0], v[1], v[2], v[3]));
    }
    if (adds) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[j] += v[j];
    }
  }
}

/// Terms 4 t .. 4 t + 3 of a panel, of this lane's lines, as words.
template <class Format, class Operand>
__device__ __forceinline__ void load_words(const Operand& o, const float* stage, int panel,
                                           unsigned words[Operand::Stage::mine][4 / Format::terms]) {
  constexpr int mine = Operand::Stage::mine, terms = Format::terms;
  const float* const from = stage + o.fragment + panel * o.panel();
  float v[4][4];
  if (mine == 4 || !o.by_lines()) {
#pragma unroll
    for (int i = 0; i < mine; ++i) {
      const float4 q = load_4(from + i * o.next());
      v[i][0] = q.x, v[i][1] = q.y, v[i][2] = q.z, v[i][3] = q.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 q = load_2(from + i * o.next());
      v[i][0] = q.x, v[i][1] = q.y;
    }
  }
  // v[line][term], or v[term][line].
  const auto pack = [&](const auto& at) {
#pragma unroll
    for (int i = 0; i < mine; ++i)
#pragma unroll
      for (int w = 0; w < 4; w += terms) {
        float term[terms];
#pragma unroll
        for (int x = 0; x < terms; ++x) term[x] = at(i, w + x);
        words[i][w / terms] = Format::word(term);
      }
  };
  if (o.by_lines())
    pack([&](int line, int term) { return v[term][line]; });
  else
    pack([&](int line, int term) { return v[line][term]; });
}

}  // namespace tenon::cuda
