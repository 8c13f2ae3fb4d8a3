// Convolutions and input gradients from lines of images in shared memory, by every tile: the cases of the row tests reach few of
// the places where bands, slices of channels and chunks of taps end.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/conv2d_bands_problems.cuh"
#include "tests/cuda_problems.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

/// A convolution with an epilogue, or its input gradient.
struct Convolution {
  explicit Convolution(ConvGeometry geometry) : g(geometry) {
    find_results(g);
    g.mask = g.pool;
    g.bias = true;
    std::mt19937 rng(13);
    std::uniform_real_distribution<float> draw(-1.f, 1.f);
    x.resize(static_cast<std::size_t>(g.n * g.h * g.w * g.c));
    filter.resize(static_cast<std::size_t>(g.kh * g.kw * g.c * g.k));
    bias.resize(static_cast<std::size_t>(g.k));
    gy.resize(static_cast<std::size_t>(g.n * g.ph * g.pw * g.k));
    for (std::vector<float>* v : {&x, &filter, &bias, &gy})
      for (float& f : *v) f = draw(rng);
    mask.resize(gy.size());
    draw_mask(rng, mask);
  }
  /// run(call, geometry); y.
  template <class Run>
  std::vector<float> forward(const Run& run) {
    std::vector<float> y(gy.size(), -1.f);
    std::vector<float> room(static_cast<std::size_t>(g.n * g.oh * g.ow * g.k * 64));
    std::vector<std::uint8_t> positions(gy.size());
    const void* in[] = {x.data(), filter.data(), bias.data()};
    void* out[] = {y.data(), positions.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    call.workspace = room.data();
    run(call, forward_view(call, g));
    return y;
  }
  template <class Run>
  std::vector<float> grad_input(const Run& run) {
    std::vector<float> gx(x.size(), -1.f);
    const void* in[] = {gy.data(), filter.data(), mask.data()};
    void* out[] = {gx.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    run(call, grad_input_view(call, g));
    return gx;
  }
  void make_positive() {
    for (std::vector<float>* v : {&x, &filter, &bias, &gy})
      for (float& f : *v) f = std::abs(f);
  }

  ConvGeometry g;
  std::vector<float> x, filter, bias, gy;
  std::vector<std::uint8_t> mask;
};

/// The largest error by what roundings of operands and sums may change; under a pool, that of the largest of four.
double worst_error(const std::vector<float>& exact, const std::vector<float>& found, const std::vector<float>& size,
                   double u) {
  double worst = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - static_cast<double>(exact[i]));
    worst = std::max(
        worst, !(error >= 0) ? 1e30 : error / (static_cast<double>(size[i]) * (2 * u + u * u + 100 * 0x1p-24) + 1e-30));
  }
  return worst;
}

/// What run_bands leaves against the naive loop; compute(convolution, run) is one of the two operations.
template <class Compute, class RunBands>
void check_against_naive(Convolution& c, const Compute& compute, const RunBands& run, double u) {
  const auto naive = [](const Call& call, const auto& view) { run_naive(call, view); };
  const std::vector<float> exact = compute(c, naive), found = compute(c, run);
  c.make_positive();
  const double worst = worst_error(exact, found, compute(c, naive), u);
  CHECK(worst < 1);
  CHECK(worst > 0);
}
template <class T, class Problem>
void run_chosen(const Call& call, Problem problem) {
  REQUIRE(choose_tile<T>(problem.bands));
  run_bands<T>(call, problem);
}
template <class T>
void check_forward_bands(const ConvGeometry& geometry, double u) {
  Convolution c(geometry);
  REQUIRE(takes_forward_bands(c.g));
  check_against_naive(
      c, [](Convolution& of, const auto& run) { return of.forward(run); },
      [&](const Call& call, const ForwardView& view) { run_chosen<T>(call, forward_problem(c.g, view)); }, u);
}
template <class T>
void check_grad_input_bands(const ConvGeometry& geometry, double u) {
  Convolution c(geometry);
  REQUIRE(takes_grad_input_bands(c.g));
  check_against_naive(
      c, [](Convolution& of, const auto& run) { return of.grad_input(run); },
      [&](const Call& call, const GradInputView& view) { run_chosen<T>(call, grad_input_problem(c.g, view)); }, u);
}
template <class Format>
void check_bands(const ConvGeometry& g, double u) {
  using Tiles = BandTiles<Format>;
  check_forward_bands<typename Tiles::Narrow>(g, u);
  check_forward_bands<typename Tiles::Wide>(g, u);
  check_forward_bands<typename Tiles::DeepNarrow>(g, u);
  check_forward_bands<typename Tiles::DeepWide>(g, u);
  if (g.stride_h > 1 || g.stride_w > 1) return;
  check_grad_input_bands<typename Tiles::Narrow>(g, u);
  check_grad_input_bands<typename Tiles::Wide>(g, u);
  check_grad_input_bands<typename Tiles::DeepNarrow>(g, u);
  check_grad_input_bands<typename Tiles::DeepWide>(g, u);
}

}  // namespace

TEST_CASE("convolutions from lines in shared memory keep their bounds", "[cuda][tiles][bands]") {
  // One slice of channels and a part of it, images that share a block, lines that end within a fragment.
  const ConvGeometry small{.n = 5, .h = 7, .w = 7, .c = 8, .kh = 3, .kw = 3, .k = 12, .pad_top = 1, .pad_left = 1};
  // Bands that begin within an image and end in the next, several slices, blocks of columns and chunks of taps.
  const ConvGeometry many{.n = 3, .h = 23, .w = 21, .c = 76, .kh = 4, .kw = 3, .k = 68, .dilation_h = 2, .pad_top = 3};
  const ConvGeometry strided{
      .n = 2, .h = 31, .w = 40, .c = 36, .kh = 3, .kw = 5, .k = 40, .stride_h = 2, .stride_w = 3, .pad_left = 2};
  // Pools whose odd last line and column are left out, with pads of both parities, and pads that reach beyond the taps.
  const ConvGeometry pooled{.n = 3, .h = 22, .w = 18, .c = 12, .kh = 2, .kw = 4, .k = 36, .pad_top = 1, .pool = true};
  const ConvGeometry padded{
      .n = 2, .h = 9, .w = 10, .c = 40, .kh = 2, .kw = 2, .k = 72, .pad_top = 2, .pad_left = 3, .pool = true};
  const ConvGeometry leaping{.n = 2,
                             .h = 25,
                             .w = 27,
                             .c = 8,
                             .kh = 3,
                             .kw = 3,
                             .k = 8,
                             .stride_h = 2,
                             .stride_w = 2,
                             .dilation_w = 2,
                             .pad_left = 1,
                             .pool = true};
  for (const ConvGeometry& g : {small, many, strided, pooled, padded, leaping}) {
    CAPTURE(g.h, g.w);
    check_bands<Bf16>(g, 0x1p-8);
    check_bands<Fp16>(g, 0x1p-11);
    check_bands<Tf32>(g, 0x1p-11);
  }
  const ConvGeometry mnist{.n = 2, .h = 26, .w = 26, .c = 32, .kh = 3, .kw = 3, .k = 64, .pool = true};
  check_forward_bands<BandTiles<Bf16>::Wide>(mnist, 0x1p-8);
  check_forward_bands<BandTiles<Tf32>::DeepWide>(mnist, 0x1p-11);
  check_grad_input_bands<BandTiles<Bf16>::DeepNarrow>(mnist, 0x1p-8);
  check_grad_input_bands<BandTiles<Tf32>::DeepNarrow>(mnist, 0x1p-11);
}

}  // namespace tenon::cuda
