// Operations that move elements without computing: transpose, concat, slice, broadcast_to; and gather with its
// gradient, which adds rows in ascending position of their id. Layouts are merged by the binding code, so that runs
// are as long as they can be. Threads own outputs.
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// Walks axes in row-major order and keeps the offset that their strides give.
struct Odometer {
  const std::int64_t* extent;
  const std::int64_t* stride;
  std::int32_t axes;
  std::int64_t index[8], offset;

  inline __attribute__((always_inline)) void seek(std::int64_t linear) {
    offset = 0;
    for (std::int32_t a = axes - 1; a >= 0; --a) {
      index[a] = linear % extent[a];
      linear /= extent[a];
      offset += index[a] * stride[a];
    }
  }
  inline __attribute__((always_inline)) void next() {
    for (std::int32_t a = axes - 1; a >= 0; --a) {
      offset += stride[a];
      if (++index[a] < extent[a]) return;
      offset -= stride[a] * extent[a];
      index[a] = 0;
    }
  }
};

TENON_INLINE std::int64_t product(const std::int64_t* extent, std::int32_t rank) {
  std::int64_t n = 1;
  for (std::int32_t a = 0; a < rank; ++a) n *= extent[a];
  return n;
}

/// body(row, begin, count): pieces of at most 64 KiB of `rows` rows, so that one long row is shared out as well.
template <class Body>
TENON_INLINE void for_each_piece(const Call& call, std::int64_t rows, std::int64_t bytes, const Body& body) {
  constexpr std::int64_t most = 65536;
  if (rows == 0 || bytes == 0) return;
  const std::int64_t pieces = blocks_of(bytes, most);
  parallel_for(threads_for(call, rows * bytes / 4), rows * pieces, [&](std::int64_t i) {
    const std::int64_t begin = i % pieces * most;
    body(i / pieces, begin, smaller(most, bytes - begin));
  });
}

TENON_INLINE void copy(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));  // an empty value may have no address
}
TENON_INLINE void clear(void* to, std::int64_t bytes) {
  if (bytes > 0) std::memset(to, 0, static_cast<std::size_t>(bytes));
}

/// y[i * y_pitch + j] = x[j * x_pitch + i]. Every cache line of x is read once and every one of y written once.
template <class T>
TENON_INLINE void transpose_tile(const char* x, std::int64_t x_pitch, char* y, std::int64_t y_pitch, std::int64_t rows,
                                 std::int64_t cols) {
  constexpr std::int64_t tile = 64 / sizeof(T), bytes = sizeof(T);
  T in[tile][tile], line[tile];
  if (rows == tile && cols == tile) {
    for (std::int64_t j = 0; j < tile; ++j) std::memcpy(in[j], x + j * x_pitch * bytes, 64);
    for (std::int64_t i = 0; i < tile; ++i) {
      for (std::int64_t j = 0; j < tile; ++j) line[j] = in[j][i];
      std::memcpy(y + i * y_pitch * bytes, line, 64);
    }
    return;
  }
  for (std::int64_t j = 0; j < cols; ++j) {
    for (std::int64_t i = 0; i < rows; ++i) std::memcpy(&in[j][i], x + (j * x_pitch + i) * bytes, sizeof(T));
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) std::memcpy(y + (i * y_pitch + j) * bytes, &in[j][i], sizeof(T));
  }
}

/// The last axis of y is strided in x and axis `unit` of y is contiguous in x: tiles over these two, all others
/// outside.
template <class T>
void transpose_tiled(const Call& call, const TransposeGeometry& g, std::int32_t unit) {
  constexpr std::int64_t tile = 64 / sizeof(T), bytes = sizeof(T);
  const std::int32_t last = g.rank - 1;
  std::int64_t extent[8], in[8], out[8], y_stride = 1, y_pitch = 0;
  for (std::int32_t a = last, b = g.rank - 2; a >= 0; --a) {
    if (a == unit) y_pitch = y_stride;
    if (a != unit && a != last) {
      --b;
      extent[b] = g.extent[a];
      in[b] = g.stride[a];
      out[b] = y_stride;
    }
    y_stride *= g.extent[a];
  }
  const std::int64_t rows = g.extent[unit], cols = g.extent[last], x_pitch = g.stride[last];
  const std::int64_t tile_rows = blocks_of(rows, tile), total = y_stride;
  const auto* x = input<char>(call, 0);
  auto* y = output<char>(call, 0);
  parallel_for(threads_for(call, total), product(extent, g.rank - 2) * tile_rows, [&](std::int64_t item) {
    Odometer from{extent, in, g.rank - 2, {}, 0}, to{extent, out, g.rank - 2, {}, 0};
    from.seek(item / tile_rows);
    to.seek(item / tile_rows);
    const std::int64_t i = item % tile_rows * tile;
    for (std::int64_t j = 0; j < cols; j += tile) {
      transpose_tile<T>(x + (from.offset + i + j * x_pitch) * bytes, x_pitch, y + (to.offset + i * y_pitch + j) * bytes,
                        y_pitch, smaller(tile, rows - i), smaller(tile, cols - j));
    }
  });
}

/// The first id out of range stops the step; the scan is serial so that every run reports the same one.
TENON_INLINE void report_bad_id(const Call& call, const std::int32_t* ids, const GatherGeometry& g) {
  for (std::int64_t i = 0; i < g.count; ++i) {
    if (ids[i] >= 0 && ids[i] < g.rows) continue;
    call.control->halt |= Control::bad_index;
    call.control->bad_value = ids[i];
    return;
  }
}

}  // namespace

void transpose(const Call& call) {
  const auto& g = geometry<TransposeGeometry>(call);
  const std::int32_t last = g.rank - 1;
  const std::int64_t total = product(g.extent, g.rank);
  if (total == 0) return;
  if (g.stride[last] == 1) {
    const std::int64_t run = g.extent[last] * g.element_bytes;
    const auto* x = input<char>(call, 0);
    auto* y = output<char>(call, 0);
    parallel_ranges(threads_for(call, total), total / g.extent[last], [&](std::int64_t begin, std::int64_t end) {
      Odometer from{g.extent, g.stride, last, {}, 0};
      from.seek(begin);
      for (std::int64_t i = begin; i < end; ++i, from.next()) copy(y + i * run, x + from.offset * g.element_bytes, run);
    });
    return;
  }
  std::int32_t unit = 0;
  while (g.stride[unit] != 1) ++unit;
  if (g.element_bytes == 1)
    transpose_tiled<std::uint8_t>(call, g, unit);
  else if (g.element_bytes == 4)
    transpose_tiled<std::uint32_t>(call, g, unit);
  else
    transpose_tiled<std::uint64_t>(call, g, unit);
}

void concat(const Call& call) {
  const auto& g = geometry<ConcatGeometry>(call);
  auto* y = output<char>(call, 0);
  std::int64_t pitch = 0, at = 0;
  for (std::int32_t p = 0; p < g.parts; ++p) pitch += g.part_bytes[p];
  for (std::int32_t p = 0; p < g.parts; ++p) {
    const auto* x = input<char>(call, p);
    const std::int64_t bytes = g.part_bytes[p];
    for_each_piece(call, g.outer, bytes, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      copy(y + row * pitch + at + begin, x + row * bytes + begin, count);
    });
    at += bytes;
  }
}

void slice(const Call& call) {
  const auto& g = geometry<SliceGeometry>(call);
  const auto* x = input<char>(call, 0);
  auto* y = output<char>(call, 0);
  for_each_piece(call, g.outer, g.length_bytes, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
    copy(y + row * g.length_bytes + begin, x + row * g.extent_bytes + g.begin_bytes + begin, count);
  });
}

void slice_grad(const Call& call) {
  const auto& g = geometry<SliceGeometry>(call);
  const auto* gy = input<char>(call, 0);
  auto* gx = output<char>(call, 0);
  const std::int64_t first = g.begin_bytes, last = first + g.length_bytes;  // of the slice, in a row of gx
  for_each_piece(call, g.outer, g.extent_bytes, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
    const std::int64_t end = begin + count, from = begin < first ? smaller(first, end) : begin;
    const std::int64_t to = last < from ? from : smaller(last, end);
    char* at = gx + row * g.extent_bytes;
    clear(at + begin, from - begin);
    if (to > from) copy(at + from, gy + row * g.length_bytes + (from - first), to - from);
    clear(at + to, end - to);
  });
}

void gather(const Call& call) {
  const auto& g = geometry<GatherGeometry>(call);
  const float* x = input<float>(call, 0);
  const auto* ids = input<std::int32_t>(call, 1);
  float* y = output<float>(call, 0);
  report_bad_id(call, ids, g);
  parallel_for(threads_for(call, g.count * g.width), g.count, [&](std::int64_t i) {
    if (ids[i] >= 0 && ids[i] < g.rows)
      copy(y + i * g.width, x + ids[i] * g.width, g.width * 4);
    else
      clear(y + i * g.width, g.width * 4);
  });
}

// Every thread reads all ids and adds those of its own rows: the order of adds is the same for any thread count. Rows
// are dealt out in turn, in groups of at least one cache line, because small ids are often the frequent ones.
void gather_grad(const Call& call) {
  const auto& g = geometry<GatherGeometry>(call);
  const float* gy = input<float>(call, 0);
  const auto* ids = input<std::int32_t>(call, 1);
  float* gtable = output<float>(call, 0);
  report_bad_id(call, ids, g);
  const std::int64_t group = g.width >= 16 ? 1 : 16;
  const std::int32_t threads = threads_for(call, (g.rows + g.count) * g.width);
  parallel_for(threads, threads, [&](std::int64_t own) {
    for (std::int64_t row = own * group; row < g.rows; row += threads * group) {
      clear(gtable + row * g.width, smaller(group, g.rows - row) * g.width * 4);
    }
    for (std::int64_t i = 0; i < g.count; ++i) {
      if (ids[i] < 0 || ids[i] >= g.rows || ids[i] / group % threads != own) continue;
      float* to = gtable + ids[i] * g.width;
      const float* from = gy + i * g.width;
      for_each_lanes(g.width,
                     [&](std::int64_t c, auto part) { part.store(to + c, part.load(to + c) + part.load(from + c)); });
    }
  });
}

void broadcast_to(const Call& call) {
  const auto& g = geometry<BroadcastGeometry>(call);
  constexpr std::int64_t most = 16384;
  const std::int32_t last = g.rank - 1;
  const std::int64_t total = product(g.extent, g.rank), run = last >= 0 ? g.extent[last] : 1;
  if (total == 0) return;
  const std::int64_t pieces = blocks_of(run, most);
  const float* x = input<float>(call, 0);  // any type of four bytes, moved as bits
  float* y = output<float>(call, 0);
  parallel_ranges(threads_for(call, total), total / run * pieces, [&](std::int64_t begin, std::int64_t end) {
    Odometer from{g.extent, g.stride, last, {}, 0};
    from.seek(begin / pieces);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t piece = i % pieces, count = smaller(most, run - piece * most);
      float* to = y + i / pieces * run + piece * most;
      if (g.stride[last] == 1) {
        copy(to, x + from.offset + piece * most, count * 4);
      } else {
        std::int32_t bits;
        std::memcpy(&bits, x + from.offset, 4);
        const Vf value = Simd::from_bits(Simd::set_int(bits));
        for_each_lanes(count, [&](std::int64_t c, auto part) { part.store(to + c, value); });
      }
      if (piece == pieces - 1) from.next();
    }
  });
}

}  // namespace tenon::cpu::TENON_ISA
