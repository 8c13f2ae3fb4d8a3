// conv2d gradients, from dz = gradient of the sums (epilogue.hpp), live terms only.
// Input: gx(iy,ix,:) += dz(oy,ox,k) filter(tap,:,k), (oy, ox, k) ascending; threads own samples.
// Filter: gfilter(tap,:,k) += dz(oy,ox,k) x(iy,ix,:), (n, oy, ox) ascending in each sample group, pair tree over the
// groups; threads own output channels. Both walk the same runs of neighbouring input elements, so the inner loop runs
// over the input channels, and a dead dz costs nothing.
#include <algorithm>

#include "kernels/common/geometry_of.hpp"
#include "kernels/reference/conv2d.hpp"
#include "kernels/reference/epilogue.hpp"
#include "kernels/reference/fma_span.hpp"
#include "kernels/reference/pair_tree.hpp"

namespace tenon::reference {
namespace {

/// The taps of one output position that lie inside the image.
class Window {
 public:
  Window(const ConvGeometry& g, std::int32_t oy, std::int32_t ox)
      : g_(g),
        iy_(oy * g.stride_h - g.pad_top),
        ix_(ox * g.stride_w - g.pad_left),
        rows_(taps_inside(iy_, g.kh, g.dilation_h, g.h)),
        columns_(taps_inside(ix_, g.kw, g.dilation_w, g.w)) {}

  /// Calls run(offset in the image, offset in a filter (kh,kw,c/groups), length) for what output channel k sees.
  template <class Run>
  void for_each_run(std::int32_t k, Run&& run) const {
    const std::int32_t cg = g_.c / g_.groups, group = k / (g_.k / g_.groups);
    for (std::int32_t ky = rows_.first; ky < rows_.last; ++ky) {
      const std::int64_t line = std::int64_t{iy_ + ky * g_.dilation_h} * g_.w + ix_;
      if (g_.dilation_w == 1 && g_.groups == 1) {  // the taps of a row are neighbours
        const std::int32_t taps = columns_.last - columns_.first;
        run((line + columns_.first) * g_.c, std::int64_t{ky * g_.kw + columns_.first} * g_.c,
            std::int64_t{taps} * g_.c);
      } else {
        for (std::int32_t kx = columns_.first; kx < columns_.last; ++kx)
          run((line + std::int64_t{kx} * g_.dilation_w) * g_.c + group * cg, std::int64_t{ky * g_.kw + kx} * cg,
              std::int64_t{cg});
      }
    }
  }

 private:
  const ConvGeometry& g_;
  std::int32_t iy_, ix_;
  TapRange rows_, columns_;
};

std::int64_t filter_row(const ConvGeometry& g) { return std::int64_t{g.kh} * g.kw * (g.c / g.groups); }
std::int64_t image(const ConvGeometry& g) { return std::int64_t{g.h} * g.w * g.c; }

template <class T>
void conv2d_grad_input(const Call& call) {
  const auto& g = state_of<ConvGeometry>(call);
  const T* filter = in<T>(call, 1);
  T* flipped = static_cast<T*>(call.workspace);  // [k, kh, kw, c / groups]
  T* gx = out<T>(call, 0);
  const std::int64_t row = filter_row(g);
  for (std::int64_t t = 0; t < row; ++t)
    for (std::int32_t k = 0; k < g.k; ++k) flipped[k * row + t] = filter[t * g.k + k];
  const Prologue<T> prologue(g, in<T>(call, 0), g.mask || g.activation != 0 ? call.in[2] : nullptr);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n) {
    T* own = gx + n * image(g);
    std::fill(own, own + image(g), T{0});
    for (std::int32_t oy = 0; oy < g.oh; ++oy)
      for (std::int32_t ox = 0; ox < g.ow; ++ox) {
        const Window window(g, oy, ox);
        for (std::int32_t k = 0; k < g.k; ++k) {
          T dz;
          if (!prologue.live(n, oy, ox, k, dz)) continue;
          window.for_each_run(k, [&](std::int64_t x, std::int64_t f, std::int64_t length) {
            fma_span(own + x, dz, flipped + k * row + f, length);
          });
        }
      }
  }
}

/// Chains of output channels [first, last) over the samples [begin, end); acc rows are [kh, kw, c / groups, bias].
template <class T>
void add_samples(const ConvGeometry& g, const Prologue<T>& prologue, const T* x, std::int64_t begin, std::int64_t end,
                 std::int32_t first, std::int32_t last, T* acc) {
  const std::int64_t taps = filter_row(g);
  for (std::int64_t n = begin; n < end; ++n)
    for (std::int32_t oy = 0; oy < g.oh; ++oy)
      for (std::int32_t ox = 0; ox < g.ow; ++ox) {
        const Window window(g, oy, ox);
        for (std::int32_t k = first; k < last; ++k) {
          T dz;
          if (!prologue.live(n, oy, ox, k, dz)) continue;
          T* own = acc + (k - first) * (taps + 1);
          window.for_each_run(k, [&](std::int64_t i, std::int64_t f, std::int64_t length) {
            fma_span(own + f, dz, x + n * image(g) + i, length);
          });
          own[taps] += dz;
        }
      }
}

struct FilterGradient {
  ConvGeometry g;
  bool gbias;
};

template <class T>
void conv2d_grad_filter(const Call& call) {
  const auto& state = state_of<FilterGradient>(call);
  const ConvGeometry& g = state.g;
  conv2d_filter_gradient(g, in<T>(call, 0), in<T>(call, 1), g.mask || g.activation != 0 ? call.in[2] : nullptr,
                         out<T>(call, 0), {g.k, 1}, state.gbias ? out<T>(call, 1) : nullptr, Order<T>::sample_group,
                         static_cast<T*>(call.workspace), call);
}

Bound bind_grad_input(const Problem& p, const Kernel&) {
  const op::Epilogue& e = p.as<op::Conv2dGradInput>().forward.epilogue;
  const Binder binder(p, gradient_inputs(e), "f");
  if (binder.refused()) return binder.refusal();
  if (const char* why = prologue_refusal(e); *why != 0) return Refusal{why};
  const ConvGeometry g = conv_geometry(p);
  return binder.step(conv2d_grad_input<float>, conv2d_grad_input<double>, g, g.k * filter_row(g));
}

Bound bind_grad_filter(const Problem& p, const Kernel&) {
  const op::Epilogue& e = p.as<op::Conv2dGradFilter>().forward.epilogue;
  const Binder binder(p, gradient_inputs(e), e.bias ? "ff" : "f");
  if (binder.refused()) return binder.refusal();
  if (const char* why = prologue_refusal(e); *why != 0) return Refusal{why};
  const FilterGradient state{conv_geometry(p), e.bias};
  return binder.step(conv2d_grad_filter<float>, conv2d_grad_filter<double>, state,
                     conv2d_filter_gradient_scratch(state.g, order::sample_group));
}

}  // namespace

std::int64_t conv2d_filter_gradient_scratch(const ConvGeometry& g, std::int64_t sample_group) {
  return tree_scratch(g.n, sample_group, g.k * (filter_row(g) + 1));
}

template <class T>
void conv2d_filter_gradient(const ConvGeometry& g, const T* gy, const T* x, const void* saved, T* gfilter,
                            FilterLayout layout, T* gbias, std::int64_t sample_group, T* scratch, const Call& call) {
  const Prologue<T> prologue(g, gy, saved);
  const std::int64_t taps = filter_row(g), groups = chunk_count(g.n, sample_group);
  const std::int64_t slot = tree_scratch(g.n, sample_group, taps + 1);
  const int parts = std::max<std::int32_t>(1, std::min<std::int32_t>(call.threads, g.k));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    const auto first = static_cast<std::int32_t>(std::int64_t{g.k} * part / parts);
    const auto last = static_cast<std::int32_t>(std::int64_t{g.k} * (part + 1) / parts);
    PairTree<T> tree(scratch + first * slot, (last - first) * (taps + 1));
    for (std::int64_t i = 0; i < groups; ++i) {
      add_samples(g, prologue, x, i * sample_group, std::min(g.n, (i + 1) * sample_group), first, last, tree.open());
      tree.close();
    }
    const T* sums = tree.sum();
    for (std::int32_t k = first; k < last; ++k, sums += taps + 1) {
      for (std::int64_t t = 0; t < taps; ++t) gfilter[t * layout.per_term + k * layout.per_output] = sums[t];
      if (gbias != nullptr) gbias[k] = sums[taps];
    }
  }
}
template void conv2d_filter_gradient(const ConvGeometry&, const float*, const float*, const void*, float*, FilterLayout,
                                     float*, std::int64_t, float*, const Call&);
template void conv2d_filter_gradient(const ConvGeometry&, const double*, const double*, const void*, double*,
                                     FilterLayout, double*, std::int64_t, double*, const Call&);

void append_conv2d_gradient_rows(KernelTable& table) {
  const Edges edges{{8, order::sample_group}};
  table.push_back(row<op::Conv2dGradInput>(bind_grad_input, edges));
  table.push_back(row<op::Conv2dGradFilter>(bind_grad_filter, edges));
}

}  // namespace tenon::reference
