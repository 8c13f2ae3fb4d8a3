// Contractions to run kernels of the emulation on, without a backend: products and convolutions with their gradients, as what a call
// has and what it leaves.
#pragma once
#include <random>
#include <vector>

#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/product.cuh"

namespace tenon::cuda {

struct Product {
  Product(std::int64_t m, std::int64_t n, std::int64_t k)
      : a(static_cast<std::size_t>(m * k)), b(static_cast<std::size_t>(k * n)), bias(static_cast<std::size_t>(n)) {
    std::mt19937 rng(7);
    std::uniform_real_distribution<float> draw(-1.f, 1.f);
    for (std::vector<float>* v : {&a, &b, &bias})
      for (float& x : *v) x = draw(rng);
    g.m = m;
    g.n = n;
    g.k = k;
    g.a_row = k;
    g.a_col = 1;
    g.b_row = n;
    g.b_col = 1;
    g.b_in = 1;
    g.bias = true;
    g.activation = op::UnaryFn::relu;
  }
  /// run(call, view), and what it leaves.
  template <class Run>
  std::vector<float> operator()(const Run& run) {
    std::vector<float> y(static_cast<std::size_t>(g.m * g.n), -1.f);
    const void* in[] = {a.data(), b.data(), bias.data()};
    void* out[] = {y.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    with_product(call, [&](const auto& view) { run(call, view); });
    return y;
  }
  std::vector<float> a, b, bias;
  ProductGeometry g{};
};

/// A product's gradient behind an epilogue: of its weights with a bias, or of its input.
struct ProductGradient {
  ProductGradient(bool of_weights, std::int64_t m, std::int64_t n, std::int64_t k, PrologueGeometry prologue)
      : dz(static_cast<std::size_t>(of_weights ? k * n : m * k)),
        other(static_cast<std::size_t>(of_weights ? k * m : n * k)),
        saved(dz.size()),
        mask(dz.size()) {
    std::mt19937 rng(13);
    std::uniform_real_distribution<float> draw(-1.f, 1.f);
    for (std::vector<float>* v : {&dz, &other, &saved})
      for (float& x : *v) x = draw(rng);
    for (std::uint8_t& b : mask) b = rng() % 3 == 0 ? op::Epilogue::killed : std::uint8_t{0};
    g.m = m;
    g.n = n;
    g.k = k;
    g.prologue = prologue;
    g.dz_rows = of_weights ? k : m;
    g.dz_cols = of_weights ? n : k;
    g.a_row = of_weights ? 1 : k;
    g.a_col = of_weights ? m : 1;
    g.b_row = of_weights ? n : 1;
    g.b_col = of_weights ? 1 : k;
    g.a_in = of_weights ? 1 : 0;
    g.b_in = of_weights ? 0 : 1;
    g.bias_grad = of_weights;
  }
  template <class Run>
  std::vector<float> operator()(const Run& run) {
    std::vector<float> y(static_cast<std::size_t>(g.m * g.n), -1.f), bias(static_cast<std::size_t>(g.n), -1.f);
    const void* in[] = {dz.data(), other.data(),
                        g.prologue.mask ? static_cast<const void*>(mask.data()) : saved.data()};
    void* out[] = {y.data(), bias.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    with_product(call, [&](const auto& view) { run(call, view); });
    y.insert(y.end(), bias.begin(), bias.end());
    return y;
  }
  std::vector<float> dz, other, saved;
  std::vector<std::uint8_t> mask;
  ProductGeometry g{};
};

/// The extents of a convolution's result, and of what a pool behind it leaves.
inline void find_results(ConvGeometry& g) {
  const auto extent = [](std::int32_t in, std::int32_t taps, std::int32_t dilation, std::int32_t stride,
                         std::int32_t pad) { return (in + 2 * pad - (taps - 1) * dilation - 1) / stride + 1; };
  g.oh = extent(g.h, g.kh, g.dilation_h, g.stride_h, g.pad_top);
  g.ow = extent(g.w, g.kw, g.dilation_w, g.stride_w, g.pad_left);
  g.ph = g.pool ? g.oh / 2 : g.oh;
  g.pw = g.pool ? g.ow / 2 : g.ow;
}
/// Masks of a pool: one of five is killed.
inline void draw_mask(std::mt19937& rng, std::vector<std::uint8_t>& mask) {
  for (std::uint8_t& m : mask) m = rng() % 5 == 4 ? op::Epilogue::killed : static_cast<std::uint8_t>(rng() % 4);
}

/// The filter gradient of a convolution behind relu, pool and dropout.
struct FilterGradient {
  explicit FilterGradient(ConvGeometry geometry, bool pool = true) : g(geometry) {
    g.pool = pool;
    find_results(g);
    g.bias = g.mask = true;
    g.activation = static_cast<std::uint8_t>(op::UnaryFn::relu);
    g.dropout = 0.25f;
    std::mt19937 rng(11);
    std::uniform_real_distribution<float> draw(-1.f, 1.f);
    gy.resize(static_cast<std::size_t>(g.n * g.ph * g.pw * g.k));
    mask.resize(gy.size());
    x.resize(static_cast<std::size_t>(g.n * g.h * g.w * g.c));
    for (std::vector<float>* v : {&gy, &x})
      for (float& f : *v) f = draw(rng);
    draw_mask(rng, mask);
  }
  /// run(call, view), of chunks of so many samples; gfilter and behind it gbias.
  template <class Run>
  std::vector<float> operator()(std::int64_t samples, const Run& run) {
    const std::size_t filter = static_cast<std::size_t>(g.kh * g.kw * (g.c / g.groups) * g.k);
    std::vector<float> gfilter(filter, -1.f), gbias(static_cast<std::size_t>(g.k), -1.f);
    std::vector<float> room((filter + gbias.size()) * static_cast<std::size_t>(order::chunks(g.n, samples)), -1.f);
    const void* in[] = {gy.data(), x.data(), mask.data()};
    void* out[] = {gfilter.data(), gbias.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    call.workspace = room.data();
    run(call, grad_filter_view(call, g, samples));
    gfilter.insert(gfilter.end(), gbias.begin(), gbias.end());
    return gfilter;
  }
  std::vector<float> naive() {
    return (*this)(order::sample_group, [](const Call& call, const auto& view) { run_naive(call, view); });
  }

  ConvGeometry g;
  std::vector<float> gy, x;
  std::vector<std::uint8_t> mask;
};

/// A filter for it.
inline std::vector<float> filter_of(const FilterGradient& gradient) {
  const ConvGeometry& g = gradient.g;
  std::vector<float> filter(static_cast<std::size_t>(g.kh * g.kw * (g.c / g.groups) * g.k));
  std::mt19937 rng(17);
  std::uniform_real_distribution<float> draw(-1.f, 1.f);
  for (float& f : filter) f = draw(rng);
  return filter;
}

/// run(call, view) for the input's gradient, and what it leaves.
template <class Run>
std::vector<float> input_gradient(const FilterGradient& gradient, const Run& run) {
  std::vector<float> gx(gradient.x.size(), -1.f);
  const std::vector<float> filter = filter_of(gradient);
  const void* in[] = {gradient.gy.data(), filter.data(), gradient.mask.data()};
  void* out[] = {gx.data()};
  Call call;
  call.in = in;
  call.out = out;
  run(call, grad_input_view(call, gradient.g));
  return gx;
}

/// Likewise for the convolution itself, without dropout; the mask stands behind y.
template <class Run>
std::vector<float> forward(const FilterGradient& gradient, const Run& run) {
  ConvGeometry g = gradient.g;
  g.dropout = 0.f;
  std::vector<float> y(gradient.gy.size(), -1.f);
  std::vector<std::uint8_t> mask(y.size(), 9);
  const std::vector<float> filter = filter_of(gradient);
  const void* in[] = {gradient.x.data(), filter.data(), gradient.gy.data()};  // of gy the first as a bias
  void* out[] = {y.data(), mask.data()};
  Call call;
  call.in = in;
  call.out = out;
  run(call, forward_view(call, g));
  y.insert(y.end(), mask.begin(), mask.end());
  return y;
}

}  // namespace tenon::cuda
