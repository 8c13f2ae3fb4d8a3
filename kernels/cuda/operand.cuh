// How a block of a contraction brings its tile of an operand from memory to shared memory, while the tile before is multiplied. A
// line is a row of a or a column of b; a word is what shared memory holds of it: one term, or two neighbouring ones that a format
// packs.
//
//   StagedOperand   by way of registers, where a term becomes a word: packed, rounded, or undone by an epilogue's gradient
//   CopiedOperand   by cp.async, sixteen bytes as they lie in memory, with no register in between, so that several tiles can be
//                   under way
//
// Neighbouring threads read neighbours in memory, which are terms of one line or lines of one term; four at a time where the
// extents are multiples of four, so that addresses are computed once for sixteen bytes. The layout in shared memory has the same
// neighbours, so that they are stored in one access, too.
//
// A side says which operand of which view it is:
//   Place side.place(line)              what it takes to find a line's terms, once per line
//   float side.one(place, term)         a term; side.four(place, term, v): four neighbours
//   side.source(place, term)            where four neighbours lie in memory; null: they are zeros. Where `plain` only
//   side.lines(), side.reading()        how many there are, and what lies side by side
// Terms are counted in 32 bits, which binding makes sure of.
#pragma once
#include "kernels/cuda/ptx.cuh"

namespace tenon::cuda {

/// What lies side by side in memory, and whether it may be read by fours.
enum class Reading : std::uint8_t { terms, lines, four_terms, four_lines };

inline Reading reading_of(bool by_lines, bool by_fours) {
  if (by_fours) return by_lines ? Reading::four_lines : Reading::four_terms;
  return by_lines ? Reading::lines : Reading::terms;
}

/// Four neighbours in memory, aligned to 16 bytes.
__device__ inline void read_four(const float* from, float v[4]) {
  const float4 q = *reinterpret_cast<const float4*>(from);
  v[0] = q.x;
  v[1] = q.y;
  v[2] = q.z;
  v[3] = q.w;
}
/// The first `count` of four neighbours, element `at` and those behind it, of memory that is aligned.
__device__ inline void write_four(float* to, std::int64_t at, const float v[4], std::int64_t count) {
  if (count >= 4 && at % 4 == 0) {
    *reinterpret_cast<float4*>(to + at) = make_float4(v[0], v[1], v[2], v[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (j < count) to[at + j] = v[j];
}

/// Operand a of a view, in one of its batches.
template <class View>
struct SideA {
  using Place = typename View::Row;
  static constexpr bool plain = View::a_plain;
  const View& view;
  std::int64_t batch;

  [[nodiscard]] __device__ Reading reading() const { return view.a_reading; }
  [[nodiscard]] __device__ std::int64_t lines() const { return view.rows; }
  [[nodiscard]] __device__ Place place(std::int64_t line) const { return view.row(batch, line); }
  [[nodiscard]] __device__ float one(const Place& p, std::int64_t term) const { return view.a(p, term); }
  __device__ void four(const Place& p, std::int64_t term, float v[4]) const { view.a_four(p, term, v); }
  [[nodiscard]] __device__ const float* source(const Place& p, std::int64_t term) const {
    return view.a_source(p, term);
  }
};
/// Operand b.
template <class View>
struct SideB {
  using Place = typename View::Column;
  static constexpr bool plain = View::b_plain;
  const View& view;
  std::int64_t batch;

  [[nodiscard]] __device__ Reading reading() const { return view.b_reading; }
  [[nodiscard]] __device__ std::int64_t lines() const { return view.columns; }
  [[nodiscard]] __device__ Place place(std::int64_t line) const { return view.column(batch, line); }
  [[nodiscard]] __device__ float one(const Place& p, std::int64_t term) const { return view.b(p, term); }
  __device__ void four(const Place& p, std::int64_t term, float v[4]) const { view.b_four(p, term, v); }
  [[nodiscard]] __device__ const float* source(const Place& p, std::int64_t term) const {
    return view.b_source(p, term);
  }
};

/// A tile of `lines` lines by `depth` words in shared memory, word by word: neighbours are lines.
template <int lines_, int depth_, int padding>
struct WordByWord {
  static constexpr bool by_lines = true;
  static constexpr int lines = lines_, depth = depth_, pitch = lines + padding, size = depth * pitch;
  static_assert(pitch % 4 == 0);
  __device__ static int at(int line, int word) { return word * pitch + line; }
  /// Which line thread `i` shall bring where threads share a tile line by line.
  __device__ static int line(int i) { return i; }
};
/// Line by line: neighbours are words. Lines change places, 4 g + q and 8 q + g of every 32 (contraction_mma.cuh says why).
template <int lines_, int depth_>
struct LineByLine {
  static constexpr bool by_lines = false;
  static constexpr int lines = lines_, depth = depth_, pitch = depth + 4, size = lines * pitch;
  static_assert(lines % 32 == 0);
  __device__ static int at(int line, int word) {
    return (line / 32 * 32 + line % 4 * 8 + line % 32 / 4) * pitch + word;
  }
  __device__ static int line(int i) { return i / 32 * 32 + i % 8 * 4 + i % 32 / 8; }
};

/// A part of a tile: a word, or several.
struct TilePart {
  int line, word;
  bool there;
};
/// The part of `width` words of a line, or of four lines of a word, that a thread brings as its u-th.
template <class Layout, int width, int threads>
__device__ TilePart words_of_line(int thread, int u) {
  constexpr int across = Layout::depth / width, parts = Layout::lines * across;
  const int id = thread + u * threads;
  return {Layout::line(id / across % Layout::lines), id % across * width, parts % threads == 0 || id < parts};
}
template <class Layout, int threads>
__device__ TilePart lines_of_word(int thread, int u) {
  constexpr int across = Layout::lines / 4, parts = Layout::depth * across;
  const int id = thread + u * threads;
  return {id % across * 4, id / across, parts % threads == 0 || id < parts};
}
/// How many of a tile's lines there are, from `first` on.
template <class Layout, class Side>
__device__ int lines_there(const Side& side, std::int64_t first) {
  const std::int64_t left = side.lines() - first;
  return left < Layout::lines ? static_cast<int>(left) : Layout::lines;
}

template <class Format, class Side, class Layout, int threads>
class StagedOperand {
  using Word = typename Format::Word;
  static constexpr int terms = Format::terms;
  static constexpr int tile = Layout::lines * Layout::depth, words = tile / threads;  // of a thread
  static constexpr int quad_words = 4 / terms;                                        // of four terms
  // Of a thread, and some threads have none.
  static constexpr int term_units = (tile / quad_words + threads - 1) / threads;
  static constexpr int line_units = (tile / 4 + threads - 1) / threads;
  static constexpr int units = term_units > line_units ? term_units : line_units;
  static_assert(tile % threads == 0 && Layout::depth % quad_words == 0 && Layout::lines % 4 == 0);

 public:
  /// Finds, once for all tiles, the lines that are read by fours.
  __device__ StagedOperand(const Side& side, int thread, std::int64_t first_line)
      : side_(side), thread_(thread), lines_(lines_there<Layout>(side, first_line)), first_line_(first_line) {
#pragma unroll
    for (int u = 0; u < units; ++u) {
      const int line = side.reading() == Reading::four_terms ? term_quad(u).line : line_quad(u).line;
      places_[u] = side.place(line < lines_ ? first_line + line : 0);
    }
  }

  /// Terms [begin, begin + depth * terms), as far as they lie before `last`; others, and lines that there are not, are 0.
  __device__ void fetch(int begin, int last) {
    if (side_.reading() == Reading::four_terms) {
#pragma unroll
      for (int u = 0; u < term_units; ++u) {
        const TilePart at = term_quad(u);
        const int term = begin + at.word * terms;
        float v[4] = {};
        if (at.there && at.line < lines_ && term < last) side_.four(places_[u], term, v);
#pragma unroll
        for (int j = 0; j < quad_words; ++j) next_[u * quad_words + j] = Format::word(v + j * terms);
      }
    } else if (side_.reading() == Reading::four_lines) {
#pragma unroll
      for (int u = 0; u < line_units; ++u) {
        const TilePart at = line_quad(u);
        float v[4][terms];
#pragma unroll
        for (int t = 0; t < terms; ++t) {
          const int term = begin + at.word * terms + t;
          float q[4] = {};
          if (at.there && at.line < lines_ && term < last) side_.four(places_[u], term, q);
#pragma unroll
          for (int l = 0; l < 4; ++l) v[l][t] = q[l];
        }
#pragma unroll
        for (int l = 0; l < 4; ++l) next_[u * 4 + l] = Format::word(v[l]);
      }
    } else {
#pragma unroll
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        float v[terms] = {};
        if (at.line < lines_) {
          const typename Side::Place where = side_.place(first_line_ + at.line);
#pragma unroll
          for (int t = 0; t < terms; ++t) {
            const int term = begin + at.word * terms + t;
            if (term < last) v[t] = side_.one(where, term);
          }
        }
        next_[u] = Format::word(v);
      }
    }
  }

  /// What was fetched last, to shared memory from `base` on.
  template <class Array>
  __device__ void store(Array& shared, int base) const {
    if (side_.reading() == Reading::four_terms) {
#pragma unroll
      for (int u = 0; u < term_units; ++u) {
        const TilePart at = term_quad(u);
        if (!at.there) continue;
        if constexpr (!Layout::by_lines && quad_words == 4) {
          store_quad(shared, base + Layout::at(at.line, at.word), next_ + u * 4);
        } else {
#pragma unroll
          for (int j = 0; j < quad_words; ++j)
            shared[base + Layout::at(at.line, at.word + j)] = next_[u * quad_words + j];
        }
      }
    } else if (side_.reading() == Reading::four_lines) {
#pragma unroll
      for (int u = 0; u < line_units; ++u) {
        const TilePart at = line_quad(u);
        if (!at.there) continue;
        if constexpr (Layout::by_lines) {
          store_quad(shared, base + Layout::at(at.line, at.word), next_ + u * 4);
        } else {
#pragma unroll
          for (int l = 0; l < 4; ++l) shared[base + Layout::at(at.line + l, at.word)] = next_[u * 4 + l];
        }
      }
    } else {
#pragma unroll
      for (int u = 0; u < words; ++u) {
        const TilePart at = single(u);
        shared[base + Layout::at(at.line, at.word)] = next_[u];
      }
    }
  }

  /// It has nothing to copy.
  template <class Array>
  __device__ void copy(Array&, int, int, int) const {}

 private:
  [[nodiscard]] __device__ TilePart term_quad(int u) const {
    return words_of_line<Layout, quad_words, threads>(thread_, u);
  }
  [[nodiscard]] __device__ TilePart line_quad(int u) const { return lines_of_word<Layout, threads>(thread_, u); }
  [[nodiscard]] __device__ TilePart single(int u) const {
    const int id = thread_ + u * threads;
    if (side_.reading() == Reading::lines) return {id % Layout::lines, id / Layout::lines, true};
    return words_of_line<Layout, 1, threads>(thread_, u);
  }
  template <class Array>
  __device__ static void store_quad(Array& shared, int at, const float v[4]) {
    store_4(shared.at(at), make_float4(v[0], v[1], v[2], v[3]));
  }
  template <class Array>
  __device__ static void store_quad(Array& shared, int at, const unsigned v[4]) {
    store_4(shared.at(at), make_uint4(v[0], v[1], v[2], v[3]));
  }

  static constexpr int most(int a, int b) { return a > b ? a : b; }

  Side side_;
  int thread_, lines_;
  std::int64_t first_line_;
  typename Side::Place places_[units];
  Word next_[most(words, most(term_units* quad_words, line_units * 4))];
};

/// A word is one term as it lies in memory, and the side's reading is by fours of what the layout has side by side.
template <class Side, class Layout, int threads>
class CopiedOperand {
  static constexpr int quads = Layout::lines * Layout::depth / 4, units = (quads + threads - 1) / threads;

 public:
  __device__ CopiedOperand(const Side& side, int thread, std::int64_t first_line)
      : side_(side), thread_(thread), lines_(lines_there<Layout>(side, first_line)) {
#pragma unroll
    for (int u = 0; u < units; ++u) {
      const int line = part(u).line;
      places_[u] = side.place(line < lines_ ? first_line + line : 0);
    }
  }
  /// Starts to copy terms [begin, begin + depth) to shared memory from `base` on; others as StagedOperand::fetch.
  template <class Array>
  __device__ void copy(Array& shared, int base, int begin, int last) const {
#pragma unroll
    for (int u = 0; u < units; ++u) {
      const TilePart at = part(u);
      if (!at.there) continue;
      const float* from = nullptr;
      if (at.line < lines_ && begin + at.word < last) from = side_.source(places_[u], begin + at.word);
      cp_async_16(shared.at(base + Layout::at(at.line, at.word)), from, from != nullptr);
    }
  }
  /// Nothing of it passes through registers.
  __device__ void fetch(int, int) const {}
  template <class Array>
  __device__ void store(Array&, int) const {}

 private:
  [[nodiscard]] __device__ TilePart part(int u) const {
    if constexpr (Layout::by_lines)
      return lines_of_word<Layout, threads>(thread_, u);
    else
      return words_of_line<Layout, 4, threads>(thread_, u);
  }

  Side side_;
  int thread_, lines_;
  typename Side::Place places_[units];
};

}  // namespace tenon::cuda
