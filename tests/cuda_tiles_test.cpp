// Every size of tile of the contractions on products that none of them divides: which one runs is decided by how many blocks fill a
// GPU, and the cases of the row tests are too small for the large ones.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/contraction_slabs.cuh"
#include "kernels/cuda/conv2d_grad_filter_cells.cuh"
#include "kernels/cuda/conv2d_grad_filter_live.cuh"
#include "kernels/cuda/product.cuh"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

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

template <class T>
std::vector<float> tiled(Product& p) {
  return p([](const Call& call, const auto& view) { run_tiled<T>(call, view); });
}
/// Through slabs; chunks in turn in a block, or as blocks of their own.
template <class T, class P>
std::vector<float> by_slabs(P& p, bool in_turn) {
  return p([&](Call call, const auto& view) {
    std::vector<float> room(static_cast<std::size_t>(view.rows * view.columns * view.chunks), -1.f);
    call.workspace = room.data();
    run_slab_tile<T>(call, view, in_turn);
    if (view.chunks > 1 && !in_turn) run_join(call, view);
  });
}
template <class T, bool copies>
std::vector<float> multiplied(Product& p) {
  return p([](const Call& call, const auto& view) {
    REQUIRE((!copies || copies_fit(view)));
    run_mma_tile<T, copies>(call, view);
  });
}

/// Whether y is relu(a b + bias) but for what roundings of operands and sums may change, u being that of an operand.
void check_bounded(const Product& p, const std::vector<float>& y, double u) {
  const auto at = [](const std::vector<float>& v, std::int64_t i) {
    return static_cast<double>(v[static_cast<std::size_t>(i)]);
  };
  double worst = 0;
  for (std::int64_t i = 0; i < p.g.m; ++i)
    for (std::int64_t j = 0; j < p.g.n; ++j) {
      double sum = at(p.bias, j), size = std::abs(sum);
      for (std::int64_t t = 0; t < p.g.k; ++t) {
        const double product = at(p.a, i * p.g.k + t) * at(p.b, t * p.g.n + j);
        sum += product;
        size += std::abs(product);
      }
      const double bound = size * (2 * u + u * u + 100 * 0x1p-24);
      worst = std::max(worst, std::abs(at(y, i * p.g.n + j) - std::max(sum, 0.)) / bound);
    }
  CHECK(worst < 1);
  CHECK(worst > 0);
}

template <class Format, bool copies>
void check_mma_tiles(Product& p, double u) {
  using Tiles = MmaTiles<Format, !copies>;
  const std::vector<float> y = multiplied<typename Tiles::Square, copies>(p);
  check_bounded(p, y, u);
  // A sum has its terms in one order, whatever the tile, unless warps share them.
  CHECK(multiplied<MmaTile<Format, 128, 64, 64>, copies>(p) == y);
  check_bounded(p, multiplied<typename Tiles::Tall, copies>(p), u);
  check_bounded(p, multiplied<typename Tiles::Column, copies>(p), u);
  check_bounded(p, multiplied<typename Tiles::Small, copies>(p), u);
}

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

template <class P>
void check_slabs(P& p) {
  const std::vector<float> naive = p([](const Call& call, const auto& view) { run_naive(call, view); });
  for (const bool in_turn : {false, true}) {
    CHECK(by_slabs<TinySlabs>(p, in_turn) == naive);
    CHECK(by_slabs<SmallSlabs>(p, in_turn) == naive);
    CHECK(by_slabs<MiddleSlabs>(p, in_turn) == naive);
    CHECK(by_slabs<LargeSlabs>(p, in_turn) == naive);
  }
}

/// The filter gradient of a convolution behind relu, pool and dropout.
struct FilterGradient {
  explicit FilterGradient(ConvGeometry geometry) : g(geometry) {
    const auto extent = [&](std::int32_t in, std::int32_t taps, std::int32_t dilation, std::int32_t stride,
                            std::int32_t pad) { return (in + 2 * pad - (taps - 1) * dilation - 1) / stride + 1; };
    g.oh = extent(g.h, g.kh, g.dilation_h, g.stride_h, g.pad_top);
    g.ow = extent(g.w, g.kw, g.dilation_w, g.stride_w, g.pad_left);
    g.ph = g.oh / 2;
    g.pw = g.ow / 2;
    g.bias = g.pool = g.mask = true;
    g.activation = static_cast<std::uint8_t>(op::UnaryFn::relu);
    g.dropout = 0.25f;
    std::mt19937 rng(11);
    std::uniform_real_distribution<float> draw(-1.f, 1.f);
    gy.resize(static_cast<std::size_t>(g.n * g.ph * g.pw * g.k));
    mask.resize(gy.size());
    x.resize(static_cast<std::size_t>(g.n * g.h * g.w * g.c));
    for (std::vector<float>* v : {&gy, &x})
      for (float& f : *v) f = draw(rng);
    for (std::uint8_t& m : mask) m = rng() % 5 == 4 ? op::Epilogue::killed : static_cast<std::uint8_t>(rng() % 4);
  }
  /// run(call, view), of chunks of so many samples; gfilter and behind it gbias.
  template <class Run>
  std::vector<float> operator()(std::int64_t samples, const Run& run) {
    const std::size_t filter = static_cast<std::size_t>(g.kh * g.kw * g.c * g.k);
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

template <class Format>
void check_cells(const ConvGeometry& geometry, std::int64_t samples, double u) {
  FilterGradient gradient(geometry);
  REQUIRE(takes_cells(gradient.g));
  const std::vector<float> exact = gradient.naive(), found = gradient(samples, [&](const Call&call, const auto&view) {
                                                       run_grad_filter_cells<Format>(call, gradient.g, view);
                                                     });
  for (std::vector<float>* v : {&gradient.gy, &gradient.x})
    for (float& f : *v) f = std::abs(f);
  const std::vector<float> size = gradient.naive();
  const auto filters = static_cast<std::size_t>(geometry.k);
  double worst = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double rounding = i < exact.size() - filters ? 2 * u + u * u : 0;  // the bias sums in fp32
    const double error = std::abs(static_cast<double>(found[i]) - static_cast<double>(exact[i]));
    worst = std::max(worst, error / (static_cast<double>(size[i]) * (rounding + 100 * 0x1p-24) + 1e-30));
  }
  CHECK(worst < 1);
  CHECK(worst > 0);
}

}  // namespace

TEST_CASE("every tile of fp32 has the bits of the naive loop", "[cuda][tiles]") {
  Product p(150, 139, 90);
  const std::vector<float> naive = p([](const Call& call, const auto& view) { run_naive(call, view); });
  CHECK(tiled<Tile<16, 32, 4, 4>>(p) == naive);
  CHECK(tiled<Tile<64, 32, 4, 4>>(p) == naive);
  CHECK(tiled<Tile<128, 64, 8, 4>>(p) == naive);
  CHECK(tiled<Tile<128, 128, 8, 8>>(p) == naive);
}

TEST_CASE("slabs have the bits of the naive loop", "[cuda][tiles]") {
  // By fours and not; one chunk, and three, the last of which is short.
  for (const std::int64_t k : {90, 92, 2116})
    for (const std::int64_t extent : {139, 140}) {
      Product p(k > 1000 ? 20 : 150, k > 1000 ? extent - 100 : extent, k);
      check_slabs(p);
    }
  const PrologueGeometry none{}, dropped{true, true, op::UnaryFn::relu, 0.f, 0.25f},
      relu{true, false, op::UnaryFn::relu, 0.f, 0.f}, tanh{true, false, op::UnaryFn::tanh, 0.f, 0.f};
  for (const bool of_weights : {false, true}) {
    for (const PrologueGeometry& prologue : {none, dropped, relu, tanh}) {
      ProductGradient by_fours(of_weights, 44, 36, 76, prologue), odd(of_weights, 41, 35, 75, prologue);
      check_slabs(by_fours);
      check_slabs(odd);
    }
    ProductGradient tall(of_weights, 132, 140, 68, dropped), chunks(of_weights, 12, 8, 2060, dropped);
    check_slabs(tall);
    check_slabs(chunks);
  }
}

TEST_CASE("every tile of the tensor cores keeps its bound", "[cuda][tiles]") {
  Product odd(150, 139, 90), by_fours(150, 140, 92), short_sum(150, 140, 4);
  check_mma_tiles<Tf32, false>(odd, 0x1p-11);
  check_mma_tiles<Bf16, false>(odd, 0x1p-8);
  check_mma_tiles<Fp16, false>(odd, 0x1p-11);
  check_mma_tiles<Tf32, false>(by_fours, 0x1p-11);
  check_mma_tiles<Bf16, false>(by_fours, 0x1p-8);
  check_mma_tiles<Fp16, false>(by_fours, 0x1p-11);
  check_mma_tiles<Tf32, true>(by_fours, 0x1p-11);   // several steps
  check_mma_tiles<Tf32, true>(short_sum, 0x1p-11);  // one
}

TEST_CASE("the filter gradient cell by cell keeps its bound", "[cuda][tiles]") {
  const ConvGeometry mnist{.n = 2, .h = 26, .w = 26, .c = 32, .kh = 3, .kw = 3, .k = 64};
  // Several bands of an image; and more than one block of channels, of filters and of taps, with strides, dilation and padding.
  const ConvGeometry wide{.n = 3, .h = 17, .w = 60, .c = 8, .kh = 2, .kw = 2, .k = 4, .pad_top = 1, .pad_left = 2};
  const ConvGeometry many{
      .n = 5, .h = 14, .w = 11, .c = 36, .kh = 5, .kw = 2, .k = 68, .stride_w = 2, .dilation_h = 2, .pad_top = 3};
  for (const std::int64_t samples : {1, 2, 8}) {
    check_cells<Bf16>(wide, samples, 0x1p-8);
    check_cells<Tf32>(wide, samples, 0x1p-11);
    check_cells<Bf16>(many, samples, 0x1p-8);
    check_cells<Fp16>(many, samples, 0x1p-11);
    check_cells<Tf32>(many, samples, 0x1p-11);
  }
  check_cells<Bf16>(mnist, 1, 0x1p-8);
  check_cells<Tf32>(mnist, 1, 0x1p-11);
}

TEST_CASE("the filter gradient by live terms has the bits of the naive loop", "[cuda][tiles]") {
  // One group of samples and several; bands of an image; more than one block of channels, of filters and of taps, with strides,
  // dilation and padding; filters that are no multiple of four.
  const ConvGeometry mnist{.n = 2, .h = 26, .w = 26, .c = 32, .kh = 3, .kw = 3, .k = 64};
  const ConvGeometry groups{.n = 17, .h = 9, .w = 8, .c = 8, .kh = 3, .kw = 3, .k = 7, .pad_top = 1, .pad_left = 1};
  const ConvGeometry wide{.n = 3, .h = 5, .w = 84, .c = 12, .kh = 1, .kw = 2, .k = 5, .pad_top = 1, .pad_left = 2};
  const ConvGeometry many{
      .n = 5, .h = 14, .w = 11, .c = 36, .kh = 5, .kw = 2, .k = 20, .stride_w = 2, .dilation_h = 2, .pad_top = 3};
  for (const ConvGeometry& geometry : {mnist, groups, wide, many}) {
    FilterGradient gradient(geometry);
    REQUIRE(takes_live_terms(gradient.g));
    CHECK(gradient.naive() == gradient(order::sample_group, [&](const Call& call, const auto& view) {
            run_grad_filter_live<UsualLiveTile>(call, gradient.g, view);
          }));
  }
}

TEST_CASE("copied operands have the bits of staged ones", "[cuda][tiles]") {
  Product p(150, 140, 92);
  CHECK(multiplied<MmaTile<Tf32, 128, 64, 64>, true>(p) == multiplied<MmaTile<Tf32, 128, 64, 64>, false>(p));
  CHECK(multiplied<MmaTile<Tf32, 32, 32, 32, 4>, true>(p) == multiplied<MmaTile<Tf32, 32, 32, 32, 4>, false>(p));
}

}  // namespace tenon::cuda
