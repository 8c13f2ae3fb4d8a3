// Convolutions as views. Rows, columns and terms of each, with the groups as batches:
//   forward        rows (n, oh, ow), or under a pool (n, ph, pw, position in the window); columns k; terms (kh, kw, c) in chunks
//   grad input     rows (n, h, w); columns c; terms (oh, ow, k) of the positions that reach the pixel, so (kh, kw) descending
//   grad filter    rows (kh, kw, c), and one of ones for the bias; columns k; terms (n, oh, ow) in groups of samples
// Taps outside the image and positions without a dz are terms of 0.
#pragma once
#include "kernels/cuda/contraction.cuh"
#include "kernels/cuda/divider.cuh"

namespace tenon::cuda {

/// Extents with what it takes to divide by them.
struct ConvExtents {
  ConvGeometry g;
  std::int32_t cg, kg;
  Divider by_cg, by_kg, by_kw, by_w, by_h, by_ow, by_oh, by_pw, by_ph, by_stride_h, by_stride_w;

  explicit ConvExtents(const ConvGeometry& geometry)
      : g(geometry),
        cg(g.c / g.groups),
        kg(g.k / g.groups),
        by_cg(cg),
        by_kg(kg),
        by_kw(g.kw),
        by_w(g.w),
        by_h(g.h),
        by_ow(g.ow),
        by_oh(g.oh),
        by_pw(g.pw),
        by_ph(g.ph),
        by_stride_h(g.stride_h),
        by_stride_w(g.stride_w) {}
};

/// dz by position: what undoing the epilogue finds at (n, oy, ox), channel k.
struct ConvGradient {
  Undo undo;

  [[nodiscard]] __device__ float at(const ConvGeometry& g, std::int64_t n, std::int32_t oy, std::int32_t ox,
                                    std::int32_t k) const {
    std::int32_t position = 0;
    const std::int64_t i = find(g, n, oy, ox, k, position);
    return i < 0 ? 0.f : undo.at(i, position);
  }
  /// Channels k to k + 3; both k and their number are multiples of four.
  __device__ void four(const ConvGeometry& g, std::int64_t n, std::int32_t oy, std::int32_t ox, std::int32_t k,
                       float v[4]) const {
    std::int32_t position = 0;
    const std::int64_t i = find(g, n, oy, ox, k, position);
    if (i >= 0) undo.four(i, position, v);
  }
  /// Where the gradient of a position lies; for problems without a pool.
  [[nodiscard]] __device__ const float* source(const ConvGeometry& g, std::int64_t n, std::int32_t oy, std::int32_t ox,
                                               std::int32_t k) const {
    return undo.gy + ((n * g.ph + oy) * g.pw + ox) * g.k + k;
  }

 private:
  /// The element of gy, and where the position lies in its window; -1: an odd last row or column is not pooled.
  [[nodiscard]] __device__ static std::int64_t find(const ConvGeometry& g, std::int64_t n, std::int32_t oy,
                                                    std::int32_t ox, std::int32_t k, std::int32_t& position) {
    if (g.pool) {
      position = oy % 2 * 2 + ox % 2;
      oy /= 2;
      ox /= 2;
      if (oy >= g.ph || ox >= g.pw) return -1;
    }
    return ((n * g.ph + oy) * g.pw + ox) * g.k + k;
  }
};
inline ConvGradient conv_gradient(const ConvGeometry& g, const Call& call) {
  const auto activation = static_cast<op::UnaryFn>(g.activation);
  const bool any = g.mask || activation != op::UnaryFn::identity;
  return {make_undo({any, g.mask, activation, g.alpha, g.dropout}, call)};
}

struct ForwardView {
  static constexpr bool a_by_lines = false, b_by_lines = true, a_plain = true, b_plain = true;
  static constexpr bool a_has_ones = false, b_has_ones = false, windows = true;
  struct Row {
    const float* image;
    std::int32_t iy, ix;  // of the window's first tap
  };
  struct Column {
    const float* filter;
  };

  ConvExtents e;
  const float *x, *filter;
  Epilogue epilogue;
  std::int64_t batches, rows, columns, terms, chunks;
  Reading a_reading, b_reading;

  [[nodiscard]] __device__ std::int64_t first_term(std::int64_t chunk) const {
    return chunk == chunks ? terms : chunk * order::k_chunk;
  }
  /// Four rows are a window.
  [[nodiscard]] bool needs_windows() const { return e.g.pool; }
  [[nodiscard]] __device__ Row row(std::int64_t batch, std::int64_t i) const {
    auto rest = static_cast<std::int32_t>(i < rows ? i : 0), position = 0;
    if (e.g.pool) {
      position = rest % 4;
      rest /= 4;
    }
    std::int32_t line = e.by_pw.split(rest);  // rest is px
    const std::int32_t n = e.by_ph.split(line), step = e.g.pool ? 2 : 1;
    const std::int32_t oy = line * step + position / 2, ox = rest * step + position % 2;
    return {x + static_cast<std::int64_t>(n) * e.g.h * e.g.w * e.g.c + batch * e.cg, oy * e.g.stride_h - e.g.pad_top,
            ox * e.g.stride_w - e.g.pad_left};
  }
  [[nodiscard]] __device__ Column column(std::int64_t batch, std::int64_t j) const {
    return {filter + batch * e.kg + j};
  }
  /// Where a term of a row lies in the image; null outside.
  [[nodiscard]] __device__ const float* a_source(const Row& r, std::int64_t t) const {
    auto c = static_cast<std::int32_t>(t);
    std::int32_t kx = e.by_cg.split(c);
    const std::int32_t ky = e.by_kw.split(kx);
    const std::int32_t iy = r.iy + ky * e.g.dilation_h, ix = r.ix + kx * e.g.dilation_w;
    if (iy < 0 || iy >= e.g.h || ix < 0 || ix >= e.g.w) return nullptr;
    return r.image + (static_cast<std::int64_t>(iy) * e.g.w + ix) * e.g.c + c;
  }
  [[nodiscard]] __device__ float a(const Row& r, std::int64_t t) const {
    const float* from = a_source(r, t);
    return from != nullptr ? *from : 0.f;
  }
  __device__ void a_four(const Row& r, std::int64_t t, float v[4]) const {
    if (const float* from = a_source(r, t); from != nullptr) read_four(from, v);
  }
  [[nodiscard]] __device__ const float* b_source(const Column& c, std::int64_t t) const { return c.filter + t * e.g.k; }
  [[nodiscard]] __device__ float b(const Column& c, std::int64_t t) const { return *b_source(c, t); }
  __device__ void b_four(const Column& c, std::int64_t t, float v[4]) const { read_four(b_source(c, t), v); }
  __device__ void finish(std::int64_t batch, std::int64_t row, std::int64_t column, const Quad& z) const {
    epilogue.finish(row, rows, batch * e.kg + column, (batch + 1) * e.kg, z);
  }
};

inline ForwardView forward_view(const Call& call, const ConvGeometry& g) {
  ForwardView v{
      ConvExtents(g), static_cast<const float*>(call.in[0]), static_cast<const float*>(call.in[1]), {}, 0, 0, 0, 0, 0};
  v.batches = g.groups;
  v.rows = g.n * g.ph * g.pw * (g.pool ? 4 : 1);
  v.columns = v.e.kg;
  v.terms = std::int64_t{g.kh} * g.kw * v.e.cg;
  v.chunks = order::chunks(v.terms, order::k_chunk);
  v.a_reading = reading_of(false, v.e.cg % 4 == 0);
  v.b_reading = reading_of(true, v.e.kg % 4 == 0);
  const auto activation = static_cast<op::UnaryFn>(g.activation);
  v.epilogue = {.pool = g.pool,
                .relu = activation == op::UnaryFn::relu,
                .activation = activation,
                .alpha = g.alpha,
                .dropout = g.dropout,
                .site = g.site,
                .pitch = g.k,
                .bias = g.bias ? static_cast<const float*>(call.in[2]) : nullptr,
                .y = static_cast<float*>(call.out[0]),
                .mask = g.mask ? static_cast<std::uint8_t*>(call.out[1]) : nullptr,
                .control = call.control};
  return v;
}

struct GradInputView {
  static constexpr bool a_by_lines = false, b_by_lines = false, a_plain = false, b_plain = true;
  static constexpr bool a_has_ones = false, b_has_ones = false, windows = false;
  struct Row {
    std::int32_t n, y, x;  // in the padded image
    std::int32_t k;        // first channel of the group
  };
  struct Column {
    const float* filter;
  };

  ConvExtents e;
  ConvGradient dz;
  const float* filter;
  float* gx;
  std::int64_t batches, rows, columns, terms, chunks = 1;
  Reading a_reading, b_reading;

  [[nodiscard]] __device__ std::int64_t first_term(std::int64_t chunk) const { return chunk == 0 ? 0 : terms; }
  [[nodiscard]] __device__ Row row(std::int64_t batch, std::int64_t i) const {
    auto x = static_cast<std::int32_t>(i < rows ? i : 0);
    std::int32_t y = e.by_w.split(x);
    const std::int32_t n = e.by_h.split(y);
    return {n, y + e.g.pad_top, x + e.g.pad_left, static_cast<std::int32_t>(batch) * e.kg};
  }
  [[nodiscard]] __device__ Column column(std::int64_t batch, std::int64_t j) const {
    return {filter + j * e.g.k + batch * e.kg};
  }
  /// The output position and channel of a term of a row; false where the tap reaches none.
  __device__ bool find(const Row& r, std::int64_t t, std::int32_t& oy, std::int32_t& ox, std::int32_t& k) const {
    k = static_cast<std::int32_t>(t);
    std::int32_t kx = e.by_kg.split(k);
    const std::int32_t ky = e.by_kw.split(kx);
    k += r.k;
    std::int32_t y = r.y - (e.g.kh - 1 - ky) * e.g.dilation_h, x = r.x - (e.g.kw - 1 - kx) * e.g.dilation_w;
    if (y < 0 || x < 0) return false;
    oy = e.by_stride_h.split(y);
    ox = e.by_stride_w.split(x);
    return y == 0 && x == 0 && oy < e.g.oh && ox < e.g.ow;
  }
  [[nodiscard]] __device__ const Undo& gradient() const { return dz.undo; }
  [[nodiscard]] __device__ const float* a_source(const Row& r, std::int64_t t) const {
    std::int32_t oy = 0, ox = 0, k = 0;
    return find(r, t, oy, ox, k) ? dz.source(e.g, r.n, oy, ox, k) : nullptr;
  }
  [[nodiscard]] __device__ float a(const Row& r, std::int64_t t) const {
    std::int32_t oy = 0, ox = 0, k = 0;
    return find(r, t, oy, ox, k) ? dz.at(e.g, r.n, oy, ox, k) : 0.f;
  }
  __device__ void a_four(const Row& r, std::int64_t t, float v[4]) const {
    std::int32_t oy = 0, ox = 0, k = 0;
    if (find(r, t, oy, ox, k)) dz.four(e.g, r.n, oy, ox, k, v);
  }
  [[nodiscard]] __device__ const float* b_source(const Column& c, std::int64_t t) const {
    auto k = static_cast<std::int32_t>(t);
    const std::int32_t tap = e.g.kh * e.g.kw - 1 - e.by_kg.split(k);  // descending
    return c.filter + static_cast<std::int64_t>(tap) * e.cg * e.g.k + k;
  }
  [[nodiscard]] __device__ float b(const Column& c, std::int64_t t) const { return *b_source(c, t); }
  __device__ void b_four(const Column& c, std::int64_t t, float v[4]) const { read_four(b_source(c, t), v); }
  __device__ void finish(std::int64_t batch, std::int64_t row, std::int64_t column, const Quad& z) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (row + i < rows) write_four(gx, (row + i) * e.g.c + batch * e.cg + column, z.sum[i], columns - column);
  }
};

inline GradInputView grad_input_view(const Call& call, const ConvGeometry& g) {
  GradInputView v{ConvExtents(g),
                  conv_gradient(g, call),
                  static_cast<const float*>(call.in[1]),
                  static_cast<float*>(call.out[0]),
                  0,
                  0,
                  0,
                  0};
  v.batches = g.groups;
  v.rows = g.n * g.h * g.w;
  v.columns = v.e.cg;
  v.terms = std::int64_t{g.kh} * g.kw * v.e.kg;
  v.a_reading = v.b_reading = reading_of(false, v.e.kg % 4 == 0);
  return v;
}

struct GradFilterView {
  static constexpr bool a_by_lines = true, b_by_lines = true, a_plain = true, b_plain = false;
  static constexpr bool a_has_ones = true, b_has_ones = false, windows = false;
  struct Row {
    std::int32_t y, x;  // of the tap, from the window's corner in the image
    std::int32_t c;     // -1: the row of ones
  };
  struct Column {
    std::int32_t k;
  };

  ConvExtents e;
  ConvGradient dz;
  const float* x;
  float *gfilter, *gbias;  // gbias may be null
  std::int64_t batches, rows, columns, terms, chunks;
  std::int64_t chunk_samples;  // of a chunk: a sample group in canonical order
  std::int64_t taps;           // rows that are taps; behind them is the one of the bias
  Reading a_reading, b_reading;

  [[nodiscard]] __device__ std::int64_t first_term(std::int64_t chunk) const {
    const std::int64_t n = chunk * chunk_samples;
    return (n < e.g.n ? n : e.g.n) * e.g.oh * e.g.ow;
  }
  [[nodiscard]] __device__ Row row(std::int64_t batch, std::int64_t i) const {
    if (i >= taps) return {0, 0, -1};
    auto c = static_cast<std::int32_t>(i);
    std::int32_t kx = e.by_cg.split(c);
    const std::int32_t ky = e.by_kw.split(kx);
    return {ky * e.g.dilation_h - e.g.pad_top, kx * e.g.dilation_w - e.g.pad_left,
            c + static_cast<std::int32_t>(batch) * e.cg};
  }
  [[nodiscard]] __device__ Column column(std::int64_t batch, std::int64_t j) const {
    return {static_cast<std::int32_t>(batch * e.kg + j)};
  }
  /// (n, oy, ox) of a term: ox stays in the argument.
  __device__ std::int32_t split(std::int32_t& ox, std::int32_t& oy) const {
    oy = e.by_ow.split(ox);
    return e.by_oh.split(oy);
  }
  [[nodiscard]] __device__ static bool is_ones(const Row& r) { return r.c < 0; }
  [[nodiscard]] __device__ const Undo& gradient() const { return dz.undo; }
  /// Without a pool.
  [[nodiscard]] __device__ const float* b_source(const Column& c, std::int64_t t) const {
    return dz.undo.gy + t * e.g.k + c.k;
  }
  /// Where a term of a tap lies in the images; null outside.
  [[nodiscard]] __device__ const float* a_source(const Row& r, std::int64_t t) const {
    auto ox = static_cast<std::int32_t>(t), oy = 0;
    const std::int64_t n = split(ox, oy);
    const std::int32_t iy = oy * e.g.stride_h + r.y, ix = ox * e.g.stride_w + r.x;
    if (iy < 0 || iy >= e.g.h || ix < 0 || ix >= e.g.w) return nullptr;
    return x + ((n * e.g.h + iy) * e.g.w + ix) * e.g.c + r.c;
  }
  [[nodiscard]] __device__ float a(const Row& r, std::int64_t t) const {
    if (r.c < 0) return 1.f;
    const float* from = a_source(r, t);
    return from != nullptr ? *from : 0.f;
  }
  /// Four channels of a tap; the row of ones begins a quad of its own.
  __device__ void a_four(const Row& r, std::int64_t t, float v[4]) const {
    if (r.c < 0)
      v[0] = 1.f;
    else if (const float* from = a_source(r, t); from != nullptr)
      read_four(from, v);
  }
  [[nodiscard]] __device__ float b(const Column& c, std::int64_t t) const {
    auto ox = static_cast<std::int32_t>(t), oy = 0;
    const std::int64_t n = split(ox, oy);
    return dz.at(e.g, n, oy, ox, c.k);
  }
  __device__ void b_four(const Column& c, std::int64_t t, float v[4]) const {
    auto ox = static_cast<std::int32_t>(t), oy = 0;
    const std::int64_t n = split(ox, oy);
    dz.four(e.g, n, oy, ox, c.k, v);
  }
  __device__ void finish(std::int64_t batch, std::int64_t row, std::int64_t column, const Quad& z) const {
    const std::int64_t k = batch * e.kg + column;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (row + i >= rows) break;
      if (row + i < taps)
        write_four(gfilter, (row + i) * e.g.k + k, z.sum[i], columns - column);
      else
        write_four(gbias, k, z.sum[i], columns - column);
    }
  }
};

/// The filter's gradient without that of the bias, and that of the bias alone.
inline GradFilterView without_bias(GradFilterView v) {
  v.rows = v.taps;
  return v;
}
inline GradFilterView only_bias(GradFilterView v) {
  v.taps = 0;
  v.rows = 1;
  return v;
}

inline GradFilterView grad_filter_view(const Call& call, const ConvGeometry& g,
                                       std::int64_t chunk_samples = order::sample_group) {
  GradFilterView v{ConvExtents(g),
                   conv_gradient(g, call),
                   static_cast<const float*>(call.in[1]),
                   static_cast<float*>(call.out[0]),
                   g.bias ? static_cast<float*>(call.out[1]) : nullptr,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0};
  v.batches = g.groups;
  v.taps = std::int64_t{g.kh} * g.kw * v.e.cg;
  v.rows = v.taps + (g.bias ? 1 : 0);
  v.columns = v.e.kg;
  v.terms = g.n * g.oh * g.ow;
  v.chunk_samples = chunk_samples;
  v.chunks = order::chunks(g.n, chunk_samples);
  v.a_reading = reading_of(true, v.e.cg % 4 == 0);
  v.b_reading = reading_of(true, v.e.kg % 4 == 0);
  return v;
}

}  // namespace tenon::cuda
