// How an operand of contraction_slabs.cuh comes to shared memory: by cp.async, sixteen bytes at a time where memory has side by side
// what the layout has, else four. A gradient comes as it lies in memory; the thread that copied a part undoes the epilogue in it,
// with saved values that it asked for a slab earlier, before the others read it.
#pragma once
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/operand.cuh"

namespace tenon::cuda {

/// Line by line as they come: for threads whose lines are neighbours of those of other lanes.
template <int lines_, int depth_>
struct LinesInOrder {
  static constexpr bool by_lines = false;
  static constexpr int lines = lines_, depth = depth_, pitch = depth + 4, size = lines * pitch;
  __device__ static int at(int line, int word) { return line * pitch + word; }
  __device__ static int line(int i) { return i; }
};

/// Sides that know whether there are lines of ones.
template <class View_>
struct SlabSideA : SideA<View_> {
  using View = View_;
  static constexpr bool has_ones = View::a_has_ones;
};
template <class View_>
struct SlabSideB : SideB<View_> {
  using View = View_;
  static constexpr bool has_ones = View::b_has_ones;
};

/// One operand of a block.
template <class Side, class Layout, int threads, int stages, int stage_size>
class SlabOperand {
  using Place = typename Side::Place;
  static constexpr int quads = Layout::lines * Layout::depth / 4, units = (quads + threads - 1) / threads;
  static constexpr int words = Layout::lines * Layout::depth / threads;
  static_assert(Layout::lines * Layout::depth % threads == 0);

 public:
  __device__ SlabOperand(const Side& side, int thread, std::int64_t first_line)
      : side_(side),
        thread_(thread),
        lines_(lines_there<Layout>(side, first_line)),
        first_line_(first_line),
        by_fours_(side.reading() == (Layout::by_lines ? Reading::four_lines : Reading::four_terms)) {
#pragma unroll
    for (int u = 0; u < units; ++u) {
      const int line = quad(u).line;
      places_[u] = side.place(line < lines_ ? first_line + line : 0);
    }
  }

  /// Lines of ones are there once and for all.
  template <class Array>
  __device__ void write_ones(Array& shared, int base) const {
    if constexpr (Side::has_ones) {
#pragma unroll 1
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        if (at.line >= lines_ || !is_ones(place(at))) continue;
        for (int s = 0; s < stages; ++s) shared[base + s * stage_size + Layout::at(at.line, at.word)] = 1.f;
      }
    }
  }

  /// Starts to copy terms [begin, begin + depth) to shared memory from `base` on. Those behind `last`, and lines that there are not,
  /// are 0.
  template <class Array>
  __device__ void copy(Array& shared, int base, int begin, int last) const {
    const int read = (last - begin + 3) / 4 * 4;  // what lies behind is not
    if (by_fours_) {
#pragma unroll
      for (int u = 0; u < units; ++u) {
        const TilePart at = quad(u);
        if (!at.there || (at.line < lines_ && is_ones(places_[u])) || at.word >= read) continue;
        const float* from = source(at, places_[u], begin, last);
        cp_async_16(shared.at(base + Layout::at(at.line, at.word)), from, from != nullptr);
      }
    } else {
#pragma unroll 2
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        if (at.word >= read || (at.line < lines_ && is_ones(place(at)))) continue;
        const float* from = source(at, place(at), begin, last);
        cp_async_4(shared.at(base + Layout::at(at.line, at.word)), from, from != nullptr);
      }
    }
  }

  /// What it takes to undo an epilogue in the terms from `begin` on, in registers until then.
  __device__ void ask(int begin, int last) {
    if constexpr (!Side::plain) {
      const Undo& undo = side_.view.gradient();
      asked_ = 0;
      if (undo.saved == nullptr || !by_fours_) return;
#pragma unroll
      for (int u = 0; u < units; ++u) {
        const TilePart at = quad(u);
        const float* from = at.there ? source(at, places_[u], begin, last) : nullptr;
        if (from == nullptr) continue;
        const std::int64_t i = from - undo.gy;
        asked_ |= 1u << u;
        if (undo.mask)
          saved_[u].x = *reinterpret_cast<const unsigned*>(static_cast<const std::uint8_t*>(undo.saved) + i);
        else
          saved_[u] = *reinterpret_cast<const uint4*>(static_cast<const float*>(undo.saved) + i);
      }
    }
  }
  /// Undoes it in what the thread itself copied, which has arrived.
  template <class Array>
  __device__ void undo(Array& shared, int base, int begin, int last) const {
    if constexpr (!Side::plain) {
      const Undo& undo = side_.view.gradient();
      if (undo.saved == nullptr) return;
      if (by_fours_) {
#pragma unroll
        for (int u = 0; u < units; ++u) {
          if ((asked_ >> u & 1) == 0) continue;
          const TilePart at = quad(u);
          float* here = shared.at(base + Layout::at(at.line, at.word));
          store_4(here, undone(undo, load_4(here), saved_[u]));
        }
      } else {
#pragma unroll 1
        for (int u = 0; u < words; ++u) {
          const TilePart at = single(u);
          if (const float* from = source(at, place(at), begin, last); from != nullptr)
            shared[base + Layout::at(at.line, at.word)] = undo.at(from - undo.gy, 0);
        }
      }
    }
  }

 private:
  [[nodiscard]] __device__ TilePart quad(int u) const {
    if constexpr (Layout::by_lines) {
      return lines_of_word<Layout, threads>(thread_, u);
    } else if constexpr (constexpr int across = Layout::depth / 4; threads % across == 0) {
      // All parts of a thread are the same terms, whose place is found once.
      const int line = thread_ / across + u * (threads / across);
      return {Layout::line(line % Layout::lines), thread_ % across * 4, quads % threads == 0 || line < Layout::lines};
    } else {
      return words_of_line<Layout, 4, threads>(thread_, u);
    }
  }
  [[nodiscard]] __device__ TilePart single(int u) const {
    const int id = thread_ + u * threads;
    if (side_.reading() == Reading::lines || side_.reading() == Reading::four_lines)
      return {id % Layout::lines, id / Layout::lines, true};
    return words_of_line<Layout, 1, threads>(thread_, u);
  }
  [[nodiscard]] __device__ Place place(const TilePart& at) const {
    return side_.place(at.line < lines_ ? first_line_ + at.line : 0);
  }
  [[nodiscard]] __device__ static bool is_ones(const Place& p) {
    if constexpr (Side::has_ones) return Side::View::is_ones(p);
    return false;
  }
  [[nodiscard]] __device__ const float* source(const TilePart& at, const Place& p, int begin, int last) const {
    return at.line < lines_ && begin + at.word < last ? side_.source(p, begin + at.word) : nullptr;
  }
  __device__ static float4 undone(const Undo& undo, float4 g, uint4 saved) {
    float v[4] = {g.x, g.y, g.z, g.w};
    if (undo.mask) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = (saved.x >> (8 * j) & 0xff) == 0 ? v[j] * undo.scale : 0.f;
    } else {
      const unsigned bits[4] = {saved.x, saved.y, saved.z, saved.w};
      if (undo.activation == op::UnaryFn::relu) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = __uint_as_float(bits[j]) <= 0.f ? 0.f : v[j];
      } else {
#pragma unroll 1
        for (int j = 0; j < 4; ++j) v[j] = unary_gradient(undo.activation, undo.alpha, v[j], __uint_as_float(bits[j]));
      }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
  }

  Side side_;
  int thread_, lines_;
  std::int64_t first_line_;
  bool by_fours_;
  Place places_[units];
  unsigned asked_ = 0;  // parts that there are saved values of
  uint4 saved_[Side::plain ? 1 : units];
};

}  // namespace tenon::cuda
