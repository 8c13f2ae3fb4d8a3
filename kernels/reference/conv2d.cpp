// conv2d forward: z(n,oy,ox,:) = sum over the taps inside and the group's channels of x fma filter(tap,c,:); epilogue.
// The flat index (kh, kw, c of the group) is cut into chunks. The inner loop runs over the output channels.
// Threads own rows of y.
#include "kernels/reference/conv2d.hpp"

#include <algorithm>

#include "kernels/common/geometry_of.hpp"
#include "kernels/reference/epilogue.hpp"
#include "kernels/reference/fma_span.hpp"
#include "kernels/reference/pair_tree.hpp"

namespace tenon::reference {
namespace {

/// Terms [begin, end) of the flat index for one output position, into acc of k sums.
template <class T>
void add_terms(const ConvGeometry& g, const T* x, const T* filter, std::int32_t oy, std::int32_t ox, std::int64_t begin,
               std::int64_t end, T* acc) {
  const std::int32_t cg = g.c / g.groups, kg = g.k / g.groups;
  for (std::int64_t flat = begin; flat < end;) {
    const auto tap = static_cast<std::int32_t>(flat / cg);
    const std::int64_t tap_end = std::min(end, std::int64_t{tap + 1} * cg);
    const std::int32_t iy = oy * g.stride_h - g.pad_top + tap / g.kw * g.dilation_h;
    const std::int32_t ix = ox * g.stride_w - g.pad_left + tap % g.kw * g.dilation_w;
    if (iy >= 0 && iy < g.h && ix >= 0 && ix < g.w) {
      const T* pixel = x + (std::int64_t{iy} * g.w + ix) * g.c;
      const std::int64_t c = flat - std::int64_t{tap} * cg;
      for (std::int32_t group = 0; group < g.groups; ++group)
        fma_spans(acc + group * kg, pixel + group * cg + c, filter + flat * g.k + group * kg, g.k, tap_end - flat, kg);
    }
    flat = tap_end;
  }
}

std::int64_t flat_terms(const ConvGeometry& g) { return std::int64_t{g.kh} * g.kw * (g.c / g.groups); }

/// z at one output position, in scratch.
template <class T>
const T* sums_at(const ConvGeometry& g, const T* x, const T* filter, std::int32_t oy, std::int32_t ox, T* scratch) {
  const std::int64_t terms = flat_terms(g), chunk = Order<T>::k_chunk;
  PairTree<T> tree(scratch, g.k);
  for (std::int64_t i = 0; i < chunk_count(terms, chunk); ++i) {
    add_terms(g, x, filter, oy, ox, i * chunk, std::min(terms, (i + 1) * chunk), tree.open());
    tree.close();
  }
  return tree.sum();
}

template <class T>
void conv2d(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  conv2d_forward(g, in<T>(call, 0), in<T>(call, 1), g.bias ? in<T>(call, 2) : nullptr, out<T>(call, 0),
                 g.mask ? out<std::uint8_t>(call, 1) : nullptr, static_cast<T*>(call.workspace), call);
}

Bound bind_conv2d(const Problem& p, const Kernel&) {
  const op::Epilogue& e = p.as<op::Conv2d>().epilogue;
  const Binder binder(p, e.bias ? "fff" : "ff", e.saves_mask() ? "fm" : "f");
  if (binder.refused()) return binder.refusal();
  const ConvGeometry g = conv_geometry(p);
  return binder.step(conv2d<float>, conv2d<double>, g, conv2d_scratch(g));
}

}  // namespace

std::int64_t conv2d_scratch(const ConvGeometry& g) {
  return max_threads * tree_scratch(flat_terms(g), order::k_chunk, g.k);
}

template <class T>
void conv2d_forward(const ConvGeometry& g, const T* x, const T* filter, const T* bias, T* y, std::uint8_t* mask,
                    T* scratch, const Call& call) {
  const std::int64_t rows = g.n * g.ph, slot = conv2d_scratch(g) / max_threads;
  const std::int64_t sample = std::int64_t{g.h} * g.w * g.c;
  const int positions = g.pool ? 4 : 1, step = g.pool ? 2 : 1;
#pragma omp parallel for num_threads(threads_with_scratch(call)) schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    T* own = scratch + thread_number() * slot;
    const auto py = static_cast<std::int32_t>(row % g.ph);
    for (std::int32_t px = 0; px < g.pw; ++px) {
      const std::int64_t first = (row * g.pw + px) * g.k;
      std::uint8_t* bytes = mask != nullptr ? mask + first : nullptr;
      for (int i = 0; i < positions; ++i) {
        const T* z = sums_at(g, x + row / g.ph * sample, filter, py * step + i / 2, px * step + i % 2, own);
        take_position(g, z, bias, i, y + first, bytes);
      }
      if (mask != nullptr) finish_masked(g, first, y + first, bytes, call.control);
    }
  }
}
template void conv2d_forward(const ConvGeometry&, const float*, const float*, const float*, float*, std::uint8_t*,
                             float*, const Call&);
template void conv2d_forward(const ConvGeometry&, const double*, const double*, const double*, double*, std::uint8_t*,
                             double*, const Call&);

void append_conv2d_gradient_rows(KernelTable&);  // conv2d_gradient.cpp

void append_conv2d_rows(KernelTable& table) {
  // Edges: the filter row's spans and the chunk of the flat index.
  table.push_back(row<op::Conv2d>(bind_conv2d, {{8, order::k_chunk}}));
  append_conv2d_gradient_rows(table);
}

}  // namespace tenon::reference
