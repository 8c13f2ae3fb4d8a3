// Operations that move elements, as Eigen block copies: transpose (the last two axes are a matrix with two strides, the
// others a counter), concat, slice and its gradient, broadcast_to, gather and its gradient, which adds rows in
// ascending position of their id. Threads own outputs.
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

template <class T>
using Rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using From = Eigen::Map<const Rows<T>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
template <class T>
using Pitched = Eigen::Map<const Rows<T>, 0, Eigen::OuterStride<>>;
template <class T>
using To = Eigen::Map<Rows<T>, 0, Eigen::OuterStride<>>;

/// body(begin, count) over strips of rows of `cols` elements.
template <class Body>
TENON_INLINE void for_each_strip(const Call& call, std::int64_t rows, std::int64_t cols, const Body& body) {
  if (cols == 0) return;
  const std::int64_t strip = blocks_of(block, cols);
  parallel_for(threads_for(call, rows * cols), blocks_of(rows, strip),
               [&](std::int64_t s) { body(s * strip, smaller(strip, rows - s * strip)); });
}

/// Offset of a row-major index under other strides, over the first `axes` axes.
TENON_INLINE std::int64_t offset_of(std::int64_t index, const std::int64_t* extent, const std::int64_t* stride,
                                    std::int32_t axes) {
  std::int64_t offset = 0;
  for (std::int32_t axis = axes - 1; axis >= 0; --axis) {
    offset += index % extent[axis] * stride[axis];
    index /= extent[axis];
  }
  return offset;
}
TENON_INLINE std::int64_t product_of(const std::int64_t* extent, std::int32_t axes) {
  std::int64_t product = 1;
  for (std::int32_t axis = 0; axis < axes; ++axis) product *= extent[axis];
  return product;
}

template <class T>
void transpose_as(const Call& call, const TransposeGeometry& g) {
  const T* x = input<T>(call, 0);
  T* y = output<T>(call, 0);
  const std::int32_t last = g.rank - 1, outer = g.rank < 2 ? 0 : g.rank - 2;
  const std::int64_t cols = g.extent[last], rows = g.rank < 2 ? 1 : g.extent[outer];
  const std::int64_t row_stride = g.rank < 2 ? 0 : g.stride[outer], matrices = product_of(g.extent, outer);
  if (rows * cols == 0) return;
  const std::int64_t strip = blocks_of(block, cols), strips = blocks_of(rows, strip);
  parallel_for(threads_for(call, matrices * rows * cols), matrices * strips, [&](std::int64_t item) {
    const std::int64_t matrix = item / strips, begin = item % strips * strip, count = smaller(strip, rows - begin);
    const T* from = x + offset_of(matrix, g.extent, g.stride, outer) + begin * row_stride;
    To<T>(y + (matrix * rows + begin) * cols, count, cols, Eigen::OuterStride<>(cols)) =
        From<T>(from, count, cols, {row_stride, g.stride[last]});
  });
}

/// to (rows, cols) = from (rows, cols), each with its pitch.
template <class T>
void copy_matrix(const Call& call, const T* from, std::int64_t from_pitch, T* to, std::int64_t to_pitch,
                 std::int64_t rows, std::int64_t cols) {
  for_each_strip(call, rows, cols, [&](std::int64_t begin, std::int64_t count) {
    To<T>(to + begin * to_pitch, count, cols, Eigen::OuterStride<>(to_pitch)) =
        Pitched<T>(from + begin * from_pitch, count, cols, Eigen::OuterStride<>(from_pitch));
  });
}

template <class T>
void concat_as(const Call& call, const ConcatGeometry& g) {
  T* y = output<T>(call, 0);
  std::int64_t pitch = 0;
  for (std::int32_t part = 0; part < g.parts; ++part) pitch += g.part_bytes[part] / std::int64_t{sizeof(T)};
  for (std::int32_t part = 0; part < g.parts; ++part) {
    const std::int64_t cols = g.part_bytes[part] / std::int64_t{sizeof(T)};
    copy_matrix(call, input<T>(call, part), cols, y, pitch, g.outer, cols);
    y += cols;
  }
}

/// extent, begin and length in elements of T.
struct Span {
  std::int64_t extent, begin, length;
};
template <class T>
TENON_INLINE Span span_of(const SliceGeometry& g) {
  constexpr std::int64_t bytes = sizeof(T);
  return {g.extent_bytes / bytes, g.begin_bytes / bytes, g.length_bytes / bytes};
}
template <class T>
void slice_as(const Call& call, const SliceGeometry& g) {
  const Span s = span_of<T>(g);
  copy_matrix(call, input<T>(call, 0) + s.begin, s.extent, output<T>(call, 0), s.length, g.outer, s.length);
}
template <class T>
void slice_grad_as(const Call& call, const SliceGeometry& g) {
  const Span s = span_of<T>(g);
  T* gx = output<T>(call, 0);
  for_each_strip(call, g.outer, s.extent, [&](std::int64_t begin, std::int64_t count) {
    To<T>(gx + begin * s.extent, count, s.extent, Eigen::OuterStride<>(s.extent)).setZero();
  });
  copy_matrix(call, input<T>(call, 0), s.length, gx + s.begin, s.extent, g.outer, s.length);
}

/// Whole floats, whatever the elements are: bytes only where a size does not divide by four.
TENON_INLINE bool in_floats(const SliceGeometry& g) {
  return (g.extent_bytes | g.begin_bytes | g.length_bytes) % 4 == 0;
}

/// The first id out of range stops the step; the scan is serial so that every run notes the same one.
void check_ids(const Call& call, const std::int32_t* ids, const GatherGeometry& g) {
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
  if (g.element_bytes == 1)
    transpose_as<std::uint8_t>(call, g);
  else if (g.element_bytes == 4)
    transpose_as<float>(call, g);
  else
    transpose_as<double>(call, g);
}

void concat(const Call& call) {
  const auto& g = geometry<ConcatGeometry>(call);
  std::int64_t bits = 0;
  for (std::int32_t part = 0; part < g.parts; ++part) bits |= g.part_bytes[part];
  if (bits % 4 == 0)
    concat_as<float>(call, g);
  else
    concat_as<std::uint8_t>(call, g);
}

void slice(const Call& call) {
  const auto& g = geometry<SliceGeometry>(call);
  if (in_floats(g))
    slice_as<float>(call, g);
  else
    slice_as<std::uint8_t>(call, g);
}

void slice_grad(const Call& call) {
  const auto& g = geometry<SliceGeometry>(call);
  if (in_floats(g))
    slice_grad_as<float>(call, g);
  else
    slice_grad_as<std::uint8_t>(call, g);
}

void gather(const Call& call) {
  const auto& g = geometry<GatherGeometry>(call);
  const float* table = input<float>(call, 0);
  const auto* ids = input<std::int32_t>(call, 1);
  float* y = output<float>(call, 0);
  check_ids(call, ids, g);
  parallel_for(threads_for(call, g.count * g.width), g.count, [&](std::int64_t i) {
    Out row(y + i * g.width, g.width);
    if (ids[i] >= 0 && ids[i] < g.rows)
      row = In(table + ids[i] * g.width, g.width);
    else
      row.setZero();
  });
}

// Every thread reads all ids and adds those of its own rows, so that the order of adds is the same for any thread
// count.
void gather_grad(const Call& call) {
  const auto& g = geometry<GatherGeometry>(call);
  const float* gy = input<float>(call, 0);
  const auto* ids = input<std::int32_t>(call, 1);
  float* gtable = output<float>(call, 0);
  check_ids(call, ids, g);
  const std::int32_t threads = threads_for(call, (g.rows + g.count) * g.width);
  const std::int64_t each = blocks_of(g.rows, threads);
  parallel_for(threads, threads, [&](std::int64_t own) {
    const std::int64_t begin = smaller(own * each, g.rows), end = smaller(begin + each, g.rows);
    Out(gtable + begin * g.width, (end - begin) * g.width).setZero();
    for (std::int64_t i = 0; i < g.count; ++i) {
      if (ids[i] >= begin && ids[i] < end) Out(gtable + ids[i] * g.width, g.width) += In(gy + i * g.width, g.width);
    }
  });
}

void broadcast_to(const Call& call) {
  const auto& g = geometry<BroadcastGeometry>(call);
  constexpr std::int64_t most = 16384;
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  const std::int32_t last = g.rank - 1;
  const std::int64_t n = g.extent[last], rows = product_of(g.extent, last), pieces = blocks_of(n, most);
  parallel_for(threads_for(call, rows * n), rows * pieces, [&](std::int64_t item) {
    const std::int64_t row = item / pieces, begin = item % pieces * most, count = smaller(most, n - begin);
    const float* from = x + offset_of(row, g.extent, g.stride, last);
    Out to(y + row * n + begin, count);
    if (g.stride[last] == 0)
      to.setConstant(*from);
    else
      to = In(from + begin, count);
  });
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
