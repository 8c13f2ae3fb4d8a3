// How a block of a contraction brings its tile of an operand from memory, by way of registers, to shared memory: the next tile is
// under way while the one before is multiplied. A line is a row of a or a column of b; a word is what shared memory holds of it:
// one term, or two neighbouring ones that a format packs.
//
// Neighbouring threads read neighbours in memory, which are terms of one line or lines of one term; four at a time where the
// extents are multiples of four, so that addresses are computed once for sixteen bytes.
#pragma once
#include "kernels/cuda/device.cuh"

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

/// A tile of `lines` lines by `depth` words, loaded by `threads` threads. The word of a line lies in shared memory at
/// line * line_pitch + word * word_pitch.
template <class Format, class Place, int lines, int depth, int threads, int line_pitch, int word_pitch>
class Operand {
  using Word = typename Format::Word;
  static constexpr int terms = Format::terms;
  static constexpr int words = lines * depth / threads;  // of a thread
  static constexpr int quad_words = 4 / terms;           // of four terms
  static constexpr int term_quads = lines * depth / quad_words, line_quads = lines * depth / 4;
  static constexpr int term_units = (term_quads + threads - 1) / threads;  // of a thread, and some threads have none
  static constexpr int line_units = (line_quads + threads - 1) / threads;
  static constexpr int units = term_units > line_units ? term_units : line_units;
  static_assert(lines * depth % threads == 0 && depth % quad_words == 0 && lines % 4 == 0);

 public:
  /// place(line) finds a line of the operand by its number, once for all tiles that are read by fours.
  template <class PlaceOf>
  __device__ Operand(Reading reading, int thread, std::int64_t first_line, std::int64_t line_count,
                     const PlaceOf& place)
      : reading_(reading), thread_(thread), first_line_(first_line), line_count_(line_count) {
#pragma unroll
    for (int u = 0; u < units; ++u) {
      const int line = reading == Reading::four_terms ? term_quad(u).line : line_quad(u).line;
      places_[u] = place(first_line + line < line_count ? first_line + line : 0);
    }
  }

  /// Terms [begin, begin + depth * terms), as far as they lie before `last`; others, and lines that there are not, are 0.
  /// one(place, term) reads a term, four(place, term, v) four neighbours.
  template <class PlaceOf, class One, class Four>
  __device__ void fetch(std::int64_t begin, std::int64_t last, const PlaceOf& place, const One& one, const Four& four) {
    if (reading_ == Reading::four_terms) {
#pragma unroll
      for (int u = 0; u < term_units; ++u) {
        const Unit at = term_quad(u);
        const std::int64_t term = begin + at.word * terms;
        float v[4] = {};
        if (at.there && first_line_ + at.line < line_count_ && term < last) four(places_[u], term, v);
#pragma unroll
        for (int j = 0; j < quad_words; ++j) next_[u * quad_words + j] = Format::word(v + j * terms);
      }
    } else if (reading_ == Reading::four_lines) {
#pragma unroll
      for (int u = 0; u < line_units; ++u) {
        const Unit at = line_quad(u);
        float v[4][terms];
#pragma unroll
        for (int t = 0; t < terms; ++t) {
          const std::int64_t term = begin + at.word * terms + t;
          float q[4] = {};
          if (at.there && first_line_ + at.line < line_count_ && term < last) four(places_[u], term, q);
#pragma unroll
          for (int l = 0; l < 4; ++l) v[l][t] = q[l];
        }
#pragma unroll
        for (int l = 0; l < 4; ++l) next_[u * 4 + l] = Format::word(v[l]);
      }
    } else {
#pragma unroll
      for (int u = 0; u < words; ++u) {
        const Unit at = single(u);
        float v[terms] = {};
        if (first_line_ + at.line < line_count_) {
          const Place where = place(first_line_ + at.line);
#pragma unroll
          for (int t = 0; t < terms; ++t) {
            const std::int64_t term = begin + at.word * terms + t;
            if (term < last) v[t] = one(where, term);
          }
        }
        next_[u] = Format::word(v);
      }
    }
  }

  /// What was fetched last, to shared memory from `base` on.
  template <class Array>
  __device__ void store(Array& shared, int base) const {
    if (reading_ == Reading::four_terms) {
#pragma unroll
      for (int u = 0; u < term_units; ++u) {
        const Unit at = term_quad(u);
        if (!at.there) continue;
#pragma unroll
        for (int j = 0; j < quad_words; ++j)
          shared[base + at.line * line_pitch + (at.word + j) * word_pitch] = next_[u * quad_words + j];
      }
    } else if (reading_ == Reading::four_lines) {
#pragma unroll
      for (int u = 0; u < line_units; ++u) {
        const Unit at = line_quad(u);
        if (!at.there) continue;
#pragma unroll
        for (int l = 0; l < 4; ++l) shared[base + (at.line + l) * line_pitch + at.word * word_pitch] = next_[u * 4 + l];
      }
    } else {
#pragma unroll
      for (int u = 0; u < words; ++u) {
        const Unit at = single(u);
        shared[base + at.line * line_pitch + at.word * word_pitch] = next_[u];
      }
    }
  }

 private:
  struct Unit {
    int line, word;
    bool there;
  };
  [[nodiscard]] __device__ Unit term_quad(int u) const {
    constexpr int across = depth / quad_words;
    const int id = thread_ + u * threads;
    return {id / across % lines, id % across * quad_words, id < term_quads};
  }
  [[nodiscard]] __device__ Unit line_quad(int u) const {
    constexpr int across = lines / 4;
    const int id = thread_ + u * threads;
    return {id % across * 4, id / across, id < line_quads};
  }
  [[nodiscard]] __device__ Unit single(int u) const {
    const int id = thread_ + u * threads;
    if (reading_ == Reading::lines) return {id % lines, id / lines, true};
    return {id / depth, id % depth, true};
  }

  static constexpr int most(int a, int b) { return a > b ? a : b; }

  Reading reading_;
  int thread_;
  std::int64_t first_line_, line_count_;
  Place places_[units];
  Word next_[most(words, most(term_units* quad_words, line_units * 4))];
};

}  // namespace tenon::cuda
