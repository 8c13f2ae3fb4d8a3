// Live terms behind a 2x2 pool, picked from vectors without a branch a term: lanes that hold one are squeezed to the front,
// and a list grows by as many.
#pragma once
#include "kernels/cpu/micro/conv2d.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Terms as two lists: where what they are multiplied with begins, and dz.
struct Terms {
  std::int32_t* at;
  float* dz;
};
/// Floats behind the end of a list that appending may write.
inline constexpr std::int64_t list_slack = width;

#if defined(__AVX512DQ__)
using LaneSet = __mmask16;
TENON_INLINE LaneSet lanes_equal(Vi a, Vi b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
/// Lanes of the set in front, in their order; what is behind means nothing.
TENON_INLINE Vi squeezed(Vi v, LaneSet set) { return (Vi)_mm512_maskz_compress_epi32(set, (__m512i)v); }
#elif defined(__AVX2__)
using LaneSet = unsigned;
TENON_INLINE LaneSet lanes_equal(Vi a, Vi b) { return static_cast<unsigned>(_mm256_movemask_ps((__m256)(a == b))); }
/// Byte i of entry s: the lane that is the i-th of the set s.
struct SqueezeTable {
  std::uint64_t of[256] = {};
  constexpr SqueezeTable() {
    for (unsigned s = 0; s < 256; ++s)
      for (unsigned lane = 0, i = 0; lane < 8; ++lane)
        if ((s >> lane & 1) != 0) of[s] |= std::uint64_t{lane} << (8 * i++);
  }
};
inline constexpr SqueezeTable squeeze_table;
TENON_INLINE Vi squeezed(Vi v, LaneSet set) {
  const __m256i from = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(squeeze_table.of[set])));
  return (Vi)_mm256_permutevar8x32_epi32((__m256i)v, from);
}
#else
using LaneSet = unsigned;
TENON_INLINE LaneSet lanes_equal(Vi a, Vi b) {
  const Vi where = a == b;
  unsigned set = 0;
  for (int i = 0; i < width; ++i) set |= static_cast<unsigned>(where[i] & 1) << i;
  return set;
}
TENON_INLINE Vi squeezed(Vi v, LaneSet set) {
  std::int32_t front[width] = {};
  for (int i = 0, count = 0; i < width; ++i)
    if ((set >> i & 1) != 0) front[count++] = v[i];
  std::memcpy(&v, front, sizeof v);
  return v;
}
#endif
TENON_INLINE Vf squeezed(Vf v, LaneSet set) { return Simd::from_bits(squeezed(Simd::bits(v), set)); }
/// Lanes [0, count), of any count.
TENON_INLINE LaneSet first_lanes(std::int64_t count) {
  return static_cast<LaneSet>(count < width ? (1u << count) - 1u : (1u << width) - 1u);
}

TENON_INLINE std::int64_t count_of(Whole) { return width; }
TENON_INLINE std::int64_t count_of(Part part) { return part.count; }
/// Mask bytes as numbers, and those of them that do not say killed.
struct Winners {
  Vi place;
  LaneSet live;
};
template <class Lanes>
TENON_INLINE Winners winners(const std::uint8_t* mask, Lanes lanes) {
  const std::int64_t count = count_of(lanes);
  const Vi place = widen(load_bytes(mask, count));
  // What lies behind the last byte is 0 and would win.
  return {place, static_cast<LaneSet>(first_lanes(count) & ~lanes_equal(place, Simd::set_int(op::Epilogue::killed)))};
}

template <class V>
TENON_INLINE V load_vector(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
/// Puts the lanes of the set at `to`; writes a whole vector.
template <class V>
TENON_INLINE void append(void* to, V v, LaneSet set) {
  v = squeezed(v, set);
  std::memcpy(to, &v, sizeof v);
}

/// The live terms of one row of windows. Those of window x are [begin[x], begin[x + 1]), filters ascending: four times the
/// filter's number times `step`, plus the winner's place in the window (bit 1: row, bit 0: column); and dz.
struct LiveRow {
  std::int32_t* code;
  float* dz;
  std::int32_t* begin;
};
TENON_INLINE LiveRow live_row(const ConvGeometry& g, float* scratch) {
  const std::int64_t most = std::int64_t{g.pw} * g.k + list_slack;
  return {reinterpret_cast<std::int32_t*>(scratch), scratch + most,
          reinterpret_cast<std::int32_t*>(scratch + 2 * most)};
}

TENON_INLINE void list_row(PooledGradient dz, std::int64_t y, std::int64_t windows, std::int64_t filters,
                           std::int32_t step, LiveRow row) {
  const Vi steps = Simd::lane_index() * (4 * step);
  const Vf scale = Simd::set(dz.scale);
  std::int64_t count = 0;
  for (std::int64_t x = 0; x < windows; ++x) {
    const std::int64_t at = (y * windows + x) * filters;
    row.begin[x] = static_cast<std::int32_t>(count);
    for_each_lanes(filters, [&](std::int64_t k, auto lanes) {
      const auto [winner, live] = winners(dz.mask + at + k, lanes);
      append(row.code + count, steps + static_cast<std::int32_t>(k) * (4 * step) + winner, live);
      append(row.dz + count, lanes.load(dz.gy + at + k) * scale, live);
      count += __builtin_popcount(live);
    });
  }
  row.begin[windows] = static_cast<std::int32_t>(count);
}
/// visit(code, dz, set) for the terms of window x that won at `place`, vector by vector. Most windows have one vector of
/// terms, and no branch costs less than one that always goes the same way: so the first is looked at unasked.
template <class Visit>
TENON_INLINE void pick_terms(LiveRow row, std::int64_t x, std::int32_t place, const Visit& visit) {
  const std::int32_t end = row.begin[x + 1];
  std::int32_t i = row.begin[x];
  do {
    const Vi code = load_vector<Vi>(row.code + i);
    visit(code, load_vector<Vf>(row.dz + i),
          static_cast<LaneSet>(first_lanes(end - i) & lanes_equal(code & 3, Simd::set_int(place))));
    i += width;
  } while (i < end);
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
