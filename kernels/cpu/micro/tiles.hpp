// The eight tile registers of AMX, 16 rows of 64 bytes each, behind six words: configure, release, zero, load, store,
// dot_bf16. Numbers of tiles are template arguments, because the instructions hold them.
// With TENON_EMULATED_TILES the words are C++ with the semantics of Intel's manual (volume 2, TDPBF16PS), so that every
// kernel made of them runs on processors without AMX; the tests do that. Written as assembly otherwise, not by GCC's
// intrinsics: those of GCC 12 do not tell the compiler that a tile load reads memory, and stringise their numbers.
#pragma once
#include "kernels/cpu/micro/simd.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// A bf16 number: the upper half of a float.
using Bf16 = std::uint16_t;

/// A tile holds 16 rows of 16 floats, or of 32 bf16: 16 pairs.
inline constexpr std::int64_t tile_rows = 16, tile_pairs = 16, tile_terms = 2 * tile_pairs, tile_columns = 16,
                              tile_bf16s = tile_rows * tile_terms;

#ifdef TENON_EMULATED_TILES

struct alignas(64) EmulatedTile {
  std::uint32_t row[tile_rows][tile_columns];
};
struct EmulatedTiles {
  EmulatedTile tile[8];
  bool configured;
};
constinit thread_local EmulatedTiles emulated{};

/// The registers; without a configuration the processor knows no such instruction.
TENON_INLINE EmulatedTile* emulated_tiles() {
  if (!emulated.configured) __builtin_trap();
  return emulated.tile;
}

TENON_INLINE void configure_tiles() {
  if (emulated.configured) __builtin_trap();  // a kernel left its own behind
  std::memset(emulated.tile, 0, sizeof emulated.tile);
  emulated.configured = true;
}
TENON_INLINE void release_tiles() { emulated.configured = false; }
template <int t>
TENON_INLINE void zero_tile() {
  std::memset(emulated_tiles() + t, 0, sizeof(EmulatedTile));
}
template <int t>
TENON_INLINE void load_tile(const void* from, std::int64_t stride) {
  EmulatedTile& to = emulated_tiles()[t];
  for (std::int64_t r = 0; r < tile_rows; ++r) std::memcpy(to.row[r], static_cast<const char*>(from) + r * stride, 64);
}
template <int t>
TENON_INLINE void store_tile(void* to, std::int64_t stride) {
  const EmulatedTile& from = emulated_tiles()[t];
  for (std::int64_t r = 0; r < tile_rows; ++r) std::memcpy(static_cast<char*>(to) + r * stride, from.row[r], 64);
}

/// While it lives, denormals are zero for this thread, going in and coming out: the tile instructions know no others.
/// What it guards has to go through memory; the compiler moves no access to memory across.
struct FlushDenormals {
  std::uint32_t before;
  TENON_MEMBER FlushDenormals() {
    asm volatile("stmxcsr %0" : "=m"(before)::"memory");
    const std::uint32_t flush = before | 0x8040;  // DAZ, FTZ
    asm volatile("ldmxcsr %0" ::"m"(flush) : "memory");
  }
  TENON_MEMBER ~FlushDenormals() { asm volatile("ldmxcsr %0" ::"m"(before) : "memory"); }
};

/// c (16,16) += a (16, 16 pairs) b (16 pairs, 16): a row of c gets the sum of two chains of FMAs from 0, one over the
/// pairs' first numbers and one over their second. Noinline, or every kernel would hold it dozens of times.
__attribute__((noinline)) void emulated_dot(EmulatedTile& c, const EmulatedTile& a, const EmulatedTile& b) {
  const FlushDenormals flush;
  constexpr int vectors = tile_columns / width, rows = 2;
  const auto first = [](Vi pair) __attribute__((always_inline)) { return Simd::from_bits(pair << 16); };
  const auto second = [](Vi pair) __attribute__((always_inline)) { return Simd::from_bits(pair & ~0xFFFF); };
  for (std::int64_t m = 0; m < tile_rows; m += rows) {
    Vf chain[rows][2][vectors] = {};
    for (std::int64_t k = 0; k < tile_pairs; ++k) {
      Vi right[vectors];
      for (int v = 0; v < vectors; ++v) std::memcpy(&right[v], b.row[k] + v * width, sizeof(Vi));
      for (int r = 0; r < rows; ++r) {
        const Vi left = Simd::set_int(static_cast<std::int32_t>(a.row[m + r][k]));
        for (int v = 0; v < vectors; ++v) {
          chain[r][0][v] = Simd::fma(first(left), first(right[v]), chain[r][0][v]);
          chain[r][1][v] = Simd::fma(second(left), second(right[v]), chain[r][1][v]);
        }
      }
    }
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) {
        Vf sum;
        std::memcpy(&sum, c.row[m + r] + v * width, sizeof sum);
        sum += chain[r][0][v] + chain[r][1][v];
        std::memcpy(c.row[m + r] + v * width, &sum, sizeof sum);
      }
  }
}
template <int c, int a, int b>
TENON_INLINE void dot_bf16() {
  EmulatedTile* tile = emulated_tiles();
  emulated_dot(tile[c], tile[a], tile[b]);
}

#else

/// Every tile whole, for the thread that calls: a thread does it before its first tile and releases them after its
/// last, so that the system has less to save when it switches threads.
TENON_INLINE void configure_tiles() {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  static_assert(sizeof config == 64);
  asm volatile("ldtilecfg %0" ::"m"(config));
}
TENON_INLINE void release_tiles() { asm volatile("tilerelease" ::: "memory"); }
template <int t>
TENON_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(t));
}
/// Rows of 64 bytes, `stride` bytes apart.
template <int t>
TENON_INLINE void load_tile(const void* from, std::int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(t) : "memory");
}
template <int t>
TENON_INLINE void store_tile(void* to, std::int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(t) : "memory");
}
/// c (16,16) += a (16, 16 pairs) b (16 pairs, 16).
template <int c, int a, int b>
TENON_INLINE void dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}

#endif

/// The tiles are this thread's while it lives.
struct TileScope {
  TENON_MEMBER TileScope() { configure_tiles(); }
  TENON_MEMBER ~TileScope() { release_tiles(); }
};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
