// Every size of tile of the contractions on one product that none of them divides: which one runs is decided by how many blocks fill a
// GPU, and the cases of the row tests are too small for the large ones.
#include <random>
#include <vector>

#include "kernels/cuda/contraction_mma.cuh"
#include "kernels/cuda/product.cuh"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

constexpr std::int64_t m = 150, n = 139, k = 90;

struct Product {
  Product() : a(m * k), b(k * n), bias(n) {
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
    std::vector<float> y(m * n, -1.f);
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
template <class T>
std::vector<float> multiplied(Product& p) {
  return p([](const Call& call, const auto& view) { run_mma_tile<T>(call, view); });
}

template <class Format>
void check_mma_tiles() {
  Product p;
  const std::vector<float> exact = p([](const Call& call, const auto& view) { run_naive(call, view); });
  const std::vector<float> small = multiplied<MmaTile<Format, 32, 16, 16, 8>>(p);
  for (std::size_t i = 0; i < exact.size(); ++i) CHECK(std::abs(small[i] - exact[i]) < 0.2f);
  // A sum has its terms in one order, whatever the tile.
  CHECK(multiplied<MmaTile<Format, 64, 32, 32, 16>>(p) == small);
  CHECK(multiplied<MmaTile<Format, 128, 64, 32, 32>>(p) == small);
  CHECK(multiplied<MmaTile<Format, 128, 128, 64, 32>>(p) == small);
}

}  // namespace

TEST_CASE("every tile of fp32 has the bits of the naive loop", "[cuda][tiles]") {
  Product p;
  const std::vector<float> naive = p([](const Call& call, const auto& view) { run_naive(call, view); });
  CHECK(tiled<Tile<16, 32, 4, 4>>(p) == naive);
  CHECK(tiled<Tile<64, 32, 4, 4>>(p) == naive);
  CHECK(tiled<Tile<128, 64, 8, 4>>(p) == naive);
  CHECK(tiled<Tile<128, 128, 8, 8>>(p) == naive);
}

TEST_CASE("every tile of the tensor cores has the same bits", "[cuda][tiles]") {
  check_mma_tiles<Tf32>();
  check_mma_tiles<Bf16>();
  check_mma_tiles<Fp16>();
}

}  // namespace tenon::cuda
