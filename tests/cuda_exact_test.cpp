// Every size of tile of the contractions in fp32, whose bits are those of the naive loop, on problems that none of them divides: which
// one runs is decided by how many blocks fill a GPU, and the cases of the row tests are too small for the large ones.
#include <vector>

#include "kernels/cuda/contraction_slabs.cuh"
#include "kernels/cuda/conv2d_grad_filter_live.cuh"
#include "kernels/cuda/conv2d_grad_input_live.cuh"
#include "tests/cuda_problems.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

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

TEST_CASE("the input gradient by live terms has the bits of the naive loop", "[cuda][tiles]") {
  // Several parts of an image, and one; an odd last row and column, padding, kernels of even extents; more than one block of channels,
  // of each size; more cells than warps.
  const ConvGeometry mnist{.n = 2, .h = 26, .w = 26, .c = 32, .kh = 3, .kw = 3, .k = 64};
  const ConvGeometry padded{.n = 1, .h = 11, .w = 8, .c = 36, .kh = 4, .kw = 5, .k = 7, .pad_top = 2, .pad_left = 3};
  const ConvGeometry many{.n = 300, .h = 5, .w = 4, .c = 20, .kh = 2, .kw = 1, .k = 100, .pad_top = 1};
  const ConvGeometry narrow{.n = 3, .h = 7, .w = 37, .c = 8, .kh = 3, .kw = 3, .k = 36};
  for (const ConvGeometry& geometry : {mnist, padded, many, narrow}) {
    FilterGradient gradient(geometry);
    REQUIRE(takes_live_input(gradient.g));
    CHECK(
        input_gradient(gradient, [](const Call& call, const GradInputView& view) { run_naive(call, view); }) ==
        input_gradient(gradient, [](const Call& call, const GradInputView& view) { run_grad_input_live(call, view); }));
  }
}

TEST_CASE("convolutions by slabs have the bits of the naive loop", "[cuda][tiles]") {
  // By fours and not, with groups, strides, dilation and padding.
  const ConvGeometry by_fours{.n = 11, .h = 9, .w = 8, .c = 8, .kh = 3, .kw = 2, .k = 72, .pad_top = 1, .pad_left = 1};
  const ConvGeometry odd{.n = 10,
                         .h = 8,
                         .w = 9,
                         .c = 6,
                         .kh = 2,
                         .kw = 3,
                         .k = 10,
                         .stride_w = 2,
                         .dilation_h = 2,
                         .pad_left = 2,
                         .groups = 2};
  const auto check = [](const auto& found, const auto& run) {
    const std::vector<float> naive = found([](const Call& call, const auto& view) { run_naive(call, view); });
    run([&](auto tile) {
      CHECK(naive == found([](const Call& call, const auto& view) {
              run_slab_tile<decltype(tile)>(call, view, false);
              if (view.chunks > 1) run_join(call, view);
            }));
    });
  };
  for (const ConvGeometry& geometry : {by_fours, odd})
    for (const bool pool : {false, true}) {
      FilterGradient gradient(geometry, pool);
      check([&](const auto& run) { return forward(gradient, run); },
            [&](const auto& with) {
              with(LargeSlabs{});
              with(SquareSlabs{});
              with(MiddleSlabs{});
              with(ColumnSlabs{});
              with(WindowSlabs{});
              if (!pool) with(SmallSlabs{});
              if (!pool) with(TinySlabs{});
            });
      if (pool) continue;
      const auto gradients = [](const auto& with) {
        with(SquareSlabs{});
        with(MiddleSlabs{});
        with(ColumnSlabs{});
        with(SmallSlabs{});
        with(TinySlabs{});
      };
      check([&](const auto& run) { return input_gradient(gradient, run); }, gradients);
      check([&](const auto& run) { return gradient(order::sample_group, run); }, gradients);
    }
}

}  // namespace tenon::cuda
