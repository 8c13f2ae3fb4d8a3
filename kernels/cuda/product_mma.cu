// matmul and its gradients on tensor cores: large ones through the kernels of contraction_mma.cuh, all others through those of
// product_tiles.cuh.
#include "kernels/cuda/contraction_runs.hpp"
#include "kernels/cuda/product_tiles.cuh"

namespace tenon::cuda {
namespace {

/// All terms in one chunk: so many tiles need no more. The bias gradient reads dz once more.
template <class Format, GradientOperand dz>
void run_large_product(const Call& call, const ProductView<dz>& view) {
  using Tile = MmaTile<Format, 128, 128, 64>;
  ProductView<dz> main = without_bias(view);
  main.chunks = 1;
  bool copied = false;
  if constexpr (Format::terms == 1) {
    copied = copies_fit(main);
    if (copied) run_mma_tile<Tile, true>(call, main);
  }
  if (!copied) run_mma_tile<Tile, false>(call, main);
  if constexpr (dz != GradientOperand::none) {
    if (view.gbias != nullptr) run_bias_sums(call, only_bias(view), product_room(view.g));
  }
}

template <class Format>
void run_any_product(const Call& call) {
  with_product(call, [&](const auto& view) {
    const ProductPlan plan = product_plan(view.g.m, view.g.n, view.g.k);
    if (plan.tiles == ProductTiles::large)
      run_large_product<Format>(call, view);
    else
      run_product<Format>(call, view, plan);
  });
}

}  // namespace

void product_tf32(const Call& call) { run_any_product<Tf32>(call); }
void product_bf16(const Call& call) { run_any_product<Bf16>(call); }
void product_fp16(const Call& call) { run_any_product<Fp16>(call); }

}  // namespace tenon::cuda
