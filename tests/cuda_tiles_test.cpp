// Every size of tile of the contractions on tensor cores, on products that none of them divides: which one runs is decided by how many
// blocks fill a GPU, and the cases of the row tests are too small for the large ones. Those of fp32: cuda_exact_test.cpp.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/conv2d_grad_filter_cells.cuh"
#include "tests/cuda_problems.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

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

TEST_CASE("copied operands have the bits of staged ones", "[cuda][tiles]") {
  Product p(150, 140, 92);
  CHECK(multiplied<MmaTile<Tf32, 128, 64, 64>, true>(p) == multiplied<MmaTile<Tf32, 128, 64, 64>, false>(p));
  CHECK(multiplied<MmaTile<Tf32, 32, 32, 32, 4>, true>(p) == multiplied<MmaTile<Tf32, 32, 32, 32, 4>, false>(p));
}

}  // namespace tenon::cuda
