// pointwise_chain   r_i = f_i(operands, r_0 .. r_(i-1)); y is the last result
// A thread owns four neighbours and runs all instructions over them; functors are those of pointwise.cu, so the bits
// are those of the operations one by one. The result before is in registers, which is all that most chains ask for; one
// that is read later on waits in shared memory, where nobody but its own thread touches it.
#include "kernels/common/pointwise.hpp"

#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

using op::PointwiseChain;

constexpr int chain_threads = 128;
constexpr std::uint8_t previous = 0xFF, unsaved = 0xFF;
constexpr int few_slots = 3, most_slots = PointwiseChain::max_count - 1;

/// A chain with the places of its results: Instruction::a and b are an operand below max_operands, max_operands + slot,
/// or `previous`.
struct Code {
  std::int32_t count, slots;
  PointwiseChain::Instruction code[PointwiseChain::max_count];
  std::uint8_t save[PointwiseChain::max_count];  // slot of the result, or `unsaved`
  bool one_value[PointwiseChain::max_operands];
};

template <int slots>
struct ChainStorage {
  Shared<float, slots * 4 * chain_threads> result;
};

__device__ inline Four execute(const PointwiseChain::Instruction& x, const Four& a, const Four& b) {
  Four y = a;
  switch (x.form) {
    case PointwiseChain::Form::unary:
      pointwise::with_unary<math::Scalar>(static_cast<op::UnaryFn>(x.fn), x.alpha, x.beta, [&](const auto& f) {
#pragma unroll
        for (int l = 0; l < 4; ++l) y.v[l] = f.value(a.v[l]);
      });
      break;
    case PointwiseChain::Form::unary_grad:
      pointwise::with_unary<math::Scalar>(static_cast<op::UnaryFn>(x.fn), x.alpha, x.beta, [&](const auto& f) {
#pragma unroll
        for (int l = 0; l < 4; ++l) y.v[l] = f.gradient(a.v[l], b.v[l]);
      });
      break;
    case PointwiseChain::Form::binary:
      pointwise::with_binary<math::Scalar>(static_cast<op::BinaryFn>(x.fn), [&](const auto& f) {
#pragma unroll
        for (int l = 0; l < 4; ++l) y.v[l] = f.value(a.v[l], b.v[l]);
      });
      break;
  }
  return y;
}

template <int slots>
__global__ void __launch_bounds__(chain_threads)
    run_chain(const __grid_constant__ Code g, const __grid_constant__ Operands<PointwiseChain::max_operands> in,
              float* y, std::int64_t n) {
  const auto slot = [](int number, int l) { return (number * 4 + l) * chain_threads + static_cast<int>(threadIdx.x); };
  for_each_four(n, [&](std::int64_t i, std::int64_t there) {
    Four last{};
    const auto value = [&](std::uint8_t number) {
      if (number == previous) return last;
      Four x;
      if (number < PointwiseChain::max_operands) {
        if (!g.one_value[number]) return load_four(in.p[number] + i, there);
        const float v = *in.p[number];
        x = {{v, v, v, v}};
      } else if constexpr (slots > 0) {
        auto& shared = shared_storage<ChainStorage<slots>>();
#pragma unroll
        for (int l = 0; l < 4; ++l) x.v[l] = shared.result[slot(number - PointwiseChain::max_operands, l)];
      }
      return x;
    };
    for (int k = 0; k < g.count; ++k) {
      const Four a = value(g.code[k].a), b = g.code[k].form == PointwiseChain::Form::unary ? a : value(g.code[k].b);
      last = execute(g.code[k], a, b);
      if constexpr (slots > 0) {
        if (g.save[k] == unsaved) continue;
        auto& shared = shared_storage<ChainStorage<slots>>();
#pragma unroll
        for (int l = 0; l < 4; ++l) shared.result[slot(g.save[k], l)] = last.v[l];
      }
    }
    store_four(y + i, last, there);
  });
}

/// Gives a slot to every result that a later instruction than the next one reads.
Code place_results(const ChainGeometry& g) {
  Code code{};
  code.count = g.chain.count;
  for (int k = 0; k < PointwiseChain::max_operands; ++k) code.one_value[k] = g.one_value[k];
  for (int k = 0; k < code.count; ++k) code.save[k] = unsaved;
  for (int k = 0; k < code.count; ++k) {
    PointwiseChain::Instruction x = g.chain.code[k];
    for (std::uint8_t* number : {&x.a, &x.b}) {
      const int result = *number - PointwiseChain::max_operands;
      if (result < 0 || (number == &x.b && x.arity() < 2)) continue;
      if (result == k - 1) {
        *number = previous;
        continue;
      }
      if (code.save[result] == unsaved) code.save[result] = static_cast<std::uint8_t>(code.slots++);
      *number = static_cast<std::uint8_t>(PointwiseChain::max_operands + code.save[result]);
    }
    code.code[k] = x;
  }
  return code;
}

template <int slots>
void run_with(const Call& call, const ChainGeometry& g, const Code& code) {
  Operands<PointwiseChain::max_operands> in{};
  std::uint32_t used = 0;
  for (int k = 0; k < code.count; ++k) {
    used |= code.code[k].a < PointwiseChain::max_operands ? 1u << code.code[k].a : 0u;
    if (code.code[k].arity() == 2 && code.code[k].b < PointwiseChain::max_operands) used |= 1u << code.code[k].b;
  }
  for (int k = 0; k < PointwiseChain::max_operands; ++k)
    if ((used >> k & 1u) != 0) in.p[k] = input<float>(call, k);
  std::size_t shared_bytes = 0;
  if constexpr (slots > 0) shared_bytes = sizeof(ChainStorage<slots>);
  launch(call, run_chain<slots>, blocks_for((g.n + 3) / 4, chain_threads), dim3(chain_threads), shared_bytes, code, in,
         output<float>(call, 0), g.n);
}

}  // namespace

void pointwise_chain(const Call& call) {
  const auto& g = state_of<ChainGeometry>(call);
  if (g.n == 0) return;
  const Code code = place_results(g);
  if (code.slots == 0)
    run_with<0>(call, g, code);
  else if (code.slots <= few_slots)
    run_with<few_slots>(call, g, code);
  else
    run_with<most_slots>(call, g, code);
}

}  // namespace tenon::cuda
