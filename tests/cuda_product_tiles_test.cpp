// Every tile of the dense layers' products on tensor cores, in every form of their operands, against the naive loop in fp32: which tile
// runs is decided by what fills a GPU, and the cases of the row tests are too small for most of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/product_tiles.cuh"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

struct Extents {
  std::int64_t m, n, k;
};
enum class Saved : std::uint8_t { none, relu, tanh, mask };

/// A product, or a gradient: its operands lie as those of a dense layer do, or `turned`.
struct Dense {
  Dense(GradientOperand dz_, Extents e, bool turned, Saved saved = Saved::none, bool bias = false) : dz(dz_) {
    g.m = e.m;
    g.n = e.n;
    g.k = e.k;
    const bool a_by_lines =
        dz == GradientOperand::b || (turned && dz == GradientOperand::none) || (bias && dz == GradientOperand::a);
    const bool b_by_lines = dz == GradientOperand::none ? !turned : dz == GradientOperand::b || turned || bias;
    g.a_row = a_by_lines ? 1 : g.k;
    g.a_col = a_by_lines ? g.m : 1;
    g.b_row = b_by_lines ? g.n : 1;
    g.b_col = b_by_lines ? 1 : g.k;
    if (dz == GradientOperand::b && turned) {
      g.a_row = g.k;
      g.a_col = 1;
    }
    g.a_in = dz == GradientOperand::b ? 1 : 0;
    g.b_in = 1 - g.a_in;
    g.dz_rows = dz == GradientOperand::none ? 0 : 1;
    std::mt19937 rng(5);
    std::uniform_real_distribution<float> draw(-0.9f, 0.9f);
    operand[g.a_in].resize(static_cast<std::size_t>(g.m * g.k));
    operand[g.b_in].resize(static_cast<std::size_t>(g.k * g.n));
    third.resize(dz == GradientOperand::none ? static_cast<std::size_t>(g.n) : operand[0].size());
    for (std::vector<float>* v : {&operand[0], &operand[1], &third})
      for (float& x : *v) x = draw(rng);
    bytes.resize(third.size());
    for (std::uint8_t& b : bytes) b = rng() % 3 == 0 ? op::Epilogue::killed : 0;
    if (dz == GradientOperand::none) {
      g.bias = bias;
      g.activation = saved == Saved::none ? op::UnaryFn::identity : op::UnaryFn::relu;
      g.mask = saved == Saved::mask;
      g.dropout = g.mask ? 0.25f : 0.f;
      g.site = 3;
    } else {
      g.bias_grad = bias;
      g.prologue = {saved != Saved::none, saved == Saved::mask,
                    saved == Saved::relu   ? op::UnaryFn::relu
                    : saved == Saved::tanh ? op::UnaryFn::tanh
                                           : op::UnaryFn::identity,
                    0.f, saved == Saved::mask ? 0.25f : 0.f};
    }
  }

  /// run(call, view), with so many floats of workspace: the result and behind it the bias gradient.
  template <GradientOperand which, class Run>
  std::vector<float> operator()(std::int64_t room, const Run& run) {
    const auto size = static_cast<std::size_t>(g.m * g.n);
    std::vector<float> y(size, -7.f), gbias(static_cast<std::size_t>(bias_lines(g)), -7.f);
    std::vector<float> workspace(static_cast<std::size_t>(room), std::nanf(""));
    std::vector<std::uint8_t> mask(size);
    Control control;
    control.seed = 11;
    const bool saves_mask = dz != GradientOperand::none && g.prologue.mask;
    const void* in[] = {operand[0].data(), operand[1].data(),
                        saves_mask ? static_cast<const void*>(bytes.data()) : third.data()};
    void* out[] = {y.data(), dz == GradientOperand::none ? static_cast<void*>(mask.data()) : gbias.data()};
    Call call;
    call.in = in;
    call.out = out;
    call.state = &g;
    call.workspace = workspace.data();
    call.control = &control;
    run(call, product_view<which>(call, g));
    y.insert(y.end(), gbias.begin(), gbias.end());
    return y;
  }

  GradientOperand dz;
  ProductGeometry g{};
  std::vector<float> operand[2], third;  // the bias, or the saved y
  std::vector<std::uint8_t> bytes;
};

template <GradientOperand dz>
std::vector<float> naive(Dense d, bool absolute) {
  if (absolute) {
    for (std::vector<float>* v : {&d.operand[0], &d.operand[1]})
      for (float& x : *v) x = std::abs(x);
    if (dz == GradientOperand::none)
      for (float& x : d.third) x = std::abs(x);
  }
  return d.operator()<dz>(0, [](const Call& call, const auto& view) { run_naive(call, view); });
}

template <GradientOperand dz, class T>
std::vector<float> tiled(Dense& d, std::int64_t parts) {
  const std::int64_t part_terms = ((d.g.k + parts - 1) / parts + 31) / 32 * 32,
                     count = (d.g.k + part_terms - 1) / part_terms;
  return d.operator()<dz>(parts * (d.g.m * d.g.n + bias_lines(d.g)), [&](const Call& call, const auto& view) {
    run_product_tile<T>(call, view, ProductPlan{ProductTiles::small, count, part_terms});
  });
}

template <class Format, GradientOperand dz>
void check(Dense d) {
  using Sizes = ProductTileSizes<Format, dz != GradientOperand::none>;
  constexpr double u = std::is_same_v<Format, Bf16> ? 0x1p-8 : 0x1p-11;
  INFO("m " << d.g.m << ", n " << d.g.n << ", k " << d.g.k << ", strides of b " << d.g.b_row << " " << d.g.b_col);
  const std::vector<float> exact = naive<dz>(d, false), size = naive<dz>(d, true);
  const auto outputs = static_cast<std::size_t>(d.g.m * d.g.n);
  const auto check_bounded = [&](const char* tiles, const std::vector<float>& found) {
    INFO(tiles);
    REQUIRE(found.size() == exact.size());
    double worst = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      // fp16 rounds small operands by 2^-25 at most, where the other is below 1; the bias sums in fp32.
      const double rounding = i < outputs ? 2 * u + u * u : 0,
                   absolute = i < outputs ? static_cast<double>(d.g.k) * 0x1p-23 : 0;
      const double error = std::abs(static_cast<double>(found[i]) - static_cast<double>(exact[i]));
      const double ratio = error / (static_cast<double>(size[i]) * (rounding + 100 * 0x1p-24) + absolute + 1e-30);
      worst = std::isnan(ratio) ? 2 : std::max(worst, ratio);
    }
    CHECK(worst < 1);
  };
  check_bounded("wide", tiled<dz, typename Sizes::Wide>(d, 1));
  check_bounded("deep", tiled<dz, typename Sizes::Deep>(d, 1));
  check_bounded("deep, 2 parts", tiled<dz, typename Sizes::Deep>(d, 2));
  check_bounded("deep, 5 parts", tiled<dz, typename Sizes::Deep>(d, 5));
  check_bounded("middle", tiled<dz, typename Sizes::Middle>(d, 1));
  check_bounded("small", tiled<dz, typename Sizes::Small>(d, 1));
}

/// By fours with several tiles of each size; odd; narrow, with stages that are used again; and the least.
constexpr Extents extents[] = {{68, 132, 100}, {67, 45, 83}, {36, 10, 320}, {20, 24, 700}, {1, 1, 1}, {5, 3, 16}};

template <class Format>
void check_format() {
  for (const Extents& e : extents) {
    for (const bool turned : {false, true}) {
      check<Format, GradientOperand::none>({GradientOperand::none, e, turned, Saved::relu, true});
      check<Format, GradientOperand::a>({GradientOperand::a, e, turned, Saved::mask});
      check<Format, GradientOperand::b>({GradientOperand::b, e, turned, Saved::mask, true});
    }
    check<Format, GradientOperand::none>({GradientOperand::none, e, false, Saved::mask, true});
    check<Format, GradientOperand::a>({GradientOperand::a, e, false, Saved::relu});
    check<Format, GradientOperand::a>({GradientOperand::a, e, false, Saved::tanh, true});
    check<Format, GradientOperand::b>({GradientOperand::b, e, false, Saved::none, true});
    check<Format, GradientOperand::b>({GradientOperand::b, e, true, Saved::tanh, true});
    check<Format, GradientOperand::b>({GradientOperand::b, e, false, Saved::relu});
  }
}

}  // namespace

TEST_CASE("tiles of dense layers keep their bound in bf16", "[cuda][tiles]") { check_format<Bf16>(); }
TEST_CASE("tiles of dense layers keep their bound in tf32", "[cuda][tiles]") { check_format<Tf32>(); }
TEST_CASE("tiles of dense layers keep their bound in fp16", "[cuda][tiles]") { check_format<Fp16>(); }

TEST_CASE("plans of products", "[cuda][tiles]") {
  const auto tiles = [](Extents e) { return product_plan(e.m, e.n, e.k).tiles; };
  CHECK(tiles({4096, 4096, 4096}) == ProductTiles::large);
  CHECK(tiles({9216, 128, 128}) == ProductTiles::wide);
  CHECK(tiles({128, 9216, 128}) == ProductTiles::wide);
  CHECK(tiles({64, 400, 784}) == ProductTiles::small);
  CHECK(tiles({128, 10, 128}) == ProductTiles::small);
  CHECK(tiles({1, 1, 0}) == ProductTiles::small);
  const ProductPlan plan = product_plan(128, 128, 9216);
  CHECK(plan.tiles == ProductTiles::deep);
  CHECK(plan.parts == 32);
  CHECK(plan.part_terms == 288);
  // Parts cover all terms, none is empty, and each begins at a panel.
  for (const Extents& e : {Extents{128, 128, 9216}, {1, 10, 100003}, {64, 64, 5000}, {300, 20, 60000}, {17, 1, 4097}}) {
    const ProductPlan p = product_plan(e.m, e.n, e.k);
    CHECK(p.parts * p.part_terms >= e.k);
    CHECK((p.parts - 1) * p.part_terms < e.k);
    CHECK((p.parts == 1 || p.part_terms % 16 == 0));
  }
}

}  // namespace tenon::cuda
