// Optimizer steps over ranges of the parameter, gradient and state slabs, in place and in one pass; the formulas are in
// kernels/common/update.hpp. Elements are independent: threads own four neighbours. A halted step changes nothing
// but the scale of gradients.
// Rate, number of the update and clip scale lie on the device, so that a recorded step needs nothing from the host.
// clip_norm sums squares in the canonical order of a row (fold_rows.cuh).
#include "kernels/common/update.hpp"

#include "kernels/common/geometry.hpp"
#include "kernels/common/math.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/fold_rows.cuh"
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {
namespace {

struct AdamStorage {
  Shared<double, 2> correction;
};

/// p, g and states of an update, and where they go.
template <int states>
struct Slabs {
  const float *p, *g, *s[states == 0 ? 1 : states];
  const float* clip_scale;  // null: not clipped
  float *p_out, *s_out[states == 0 ? 1 : states];
};

template <int states, class Rule>
__global__ void __launch_bounds__(block_threads)
    update_elements(std::int64_t n, float lr_scale, Rule rule, Slabs<states> slabs, const Control* control) {
  if (control->halt != 0) return;
  rule.common.lr = control->lr * lr_scale;
  if (slabs.clip_scale != nullptr) rule.common.clip_scale = *slabs.clip_scale;
  if constexpr (std::is_same_v<Rule, update::Adam>) {
    // Powers in double are long chains, and many devices are slow at them: one thread is enough.
    AdamStorage& shared = shared_storage<AdamStorage>();
    if (threadIdx.x == 0) {
      rule = update::correct_bias(rule, control->updates + 1);
      shared.correction[0] = rule.correction1;
      shared.correction[1] = rule.correction2;
    }
    __syncthreads();
    rule.correction1 = shared.correction[0];
    rule.correction2 = shared.correction[1];
  }
  for_each_four(n, [&](std::int64_t i, std::int64_t there) {
    Four p = load_four(slabs.p + i, there), s[states == 0 ? 1 : states];
    const Four g = load_four(slabs.g + i, there);
#pragma unroll
    for (int k = 0; k < states; ++k) s[k] = load_four(slabs.s[k] + i, there);
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      float state[2] = {};
#pragma unroll
      for (int k = 0; k < states; ++k) state[k] = s[k].v[l];
      update::step<math::Scalar>(rule, g.v[l], p.v[l], state);
#pragma unroll
      for (int k = 0; k < states; ++k) s[k].v[l] = state[k];
    }
    store_four(slabs.p_out + i, p, there);
#pragma unroll
    for (int k = 0; k < states; ++k) store_four(slabs.s_out[k] + i, s[k], there);
  });
}

/// What the rules share; the kernel fills in what lies on the device.
update::Common common(const UpdateGeometry& g) { return {0.f, g.weight_decay, g.clipped, 1.f}; }

/// in: p, g, states..., clip scale; out: p, states... in the same memory.
template <int states, class Rule>
void run_rule(const Call& call, const UpdateGeometry& g, const Rule& rule) {
  if (g.n == 0) return;
  Slabs<states> slabs{};
  slabs.p = input<float>(call, 0);
  slabs.g = input<float>(call, 1);
  slabs.p_out = output<float>(call, 0);
  for (int k = 0; k < states; ++k) {
    slabs.s[k] = input<float>(call, 2 + k);
    slabs.s_out[k] = output<float>(call, 1 + k);
  }
  if (g.clipped) slabs.clip_scale = input<float>(call, 2 + states);
  const std::size_t shared_bytes = std::is_same_v<Rule, update::Adam> ? sizeof(AdamStorage) : 0;
  launch(call, update_elements<states, Rule>, blocks_for_fours(g.n), dim3(block_threads), shared_bytes, g.n, g.lr_scale,
         rule, slabs, call.control);
}

__global__ void accumulate_elements(AccumulateGeometry g, const Control* control, const float* sum,
                                    const float* gradient, float* out) {
  if (control->halt != 0) return;
  const bool first = control->micro == 0;
  for_each_four(g.n, [&](std::int64_t i, std::int64_t there) {
    // The first micro-batch does not read the sum, which may hold anything.
    const Four old = first ? Four{} : load_four(sum + i, there), more = load_four(gradient + i, there);
    Four result;
#pragma unroll
    for (int l = 0; l < 4; ++l) result.v[l] = update::accumulate<math::Scalar>(g.scale, first, old.v[l], more.v[l]);
    store_four(out + i, result, there);
  });
}

__global__ void unscale_elements(AccumulateGeometry g, const float* gradient, float* out, Control* control) {
  bool overflow = false;
  for_each_four(g.n, [&](std::int64_t i, std::int64_t there) {
    Four v = load_four(gradient + i, there);
#pragma unroll
    for (int l = 0; l < 4; ++l) overflow = update::unscale<math::Scalar>(g.scale, v.v[l]) != 0 || overflow;
    store_four(out + i, v, there);
  });
  if (overflow) atomicOr(&control->halt, std::uint32_t{Control::overflow});
}

__global__ void average_elements(EmaGeometry g, const Control* control, const float* state, const float* value,
                                 float* out) {
  if (control->halt != 0) return;
  for_each_four(g.n, [&](std::int64_t i, std::int64_t there) {
    const Four old = load_four(state + i, there), x = load_four(value + i, there);
    Four result;
#pragma unroll
    for (int l = 0; l < 4; ++l) result.v[l] = update::ema<math::Scalar>(g.momentum, old.v[l], x.v[l]);
    store_four(out + i, result, there);
  });
}

__global__ void check_loss(const float* loss, Control* control) {
  const auto bits = static_cast<std::uint32_t>(math::Scalar::bits(*loss));
  if ((bits & 0x7F800000u) == 0x7F800000u) atomicOr(&control->halt, std::uint32_t{Control::not_finite});
}

}  // namespace

void sgd(const Call& call) {
  const auto& g = state_of<UpdateGeometry>(call);
  const update::Sgd rule{common(g), g.a, g.flag};
  if (g.a != 0.f)
    run_rule<1>(call, g, rule);
  else
    run_rule<0>(call, g, rule);
}

void adadelta(const Call& call) {
  const auto& g = state_of<UpdateGeometry>(call);
  run_rule<2>(call, g, update::Adadelta{common(g), g.a, g.epsilon});
}

void adagrad(const Call& call) {
  const auto& g = state_of<UpdateGeometry>(call);
  run_rule<1>(call, g, update::Adagrad{common(g), g.epsilon});
}

void rmsprop(const Call& call) {
  const auto& g = state_of<UpdateGeometry>(call);
  const update::Rmsprop rule{common(g), g.a, g.b, g.epsilon, g.flag};
  if (g.b != 0.f)
    run_rule<2>(call, g, rule);
  else
    run_rule<1>(call, g, rule);
}

void adam(const Call& call) {
  const auto& g = state_of<UpdateGeometry>(call);
  run_rule<2>(call, g, update::Adam{common(g), g.a, g.b, g.epsilon, g.flag, 1., 1.});
}

void accumulate_grad(const Call& call) {
  const auto& g = state_of<AccumulateGeometry>(call);
  if (g.n == 0) return;
  launch(call, accumulate_elements, blocks_for_fours(g.n), dim3(block_threads), 0, g, call.control,
         input<float>(call, 0), input<float>(call, 1), output<float>(call, 0));
}

void unscale_grad(const Call& call) {
  const auto& g = state_of<AccumulateGeometry>(call);
  if (g.n == 0) return;
  launch(call, unscale_elements, blocks_for_fours(g.n), dim3(block_threads), 0, g, input<float>(call, 0),
         output<float>(call, 0), call.control);
}

void clip_norm(const Call& call) {
  const auto& g = state_of<ClipGeometry>(call);
  fold_rows<SumOfSquares>(call, 1, g.n, ClipScale{g.max_norm}, call.control);
}

void assign_ema(const Call& call) {
  const auto& g = state_of<EmaGeometry>(call);
  if (g.n == 0) return;
  launch(call, average_elements, blocks_for_fours(g.n), dim3(block_threads), 0, g, call.control, input<float>(call, 0),
         input<float>(call, 1), output<float>(call, 0));
}

void check_finite(const Call& call) {
  launch(call, check_loss, dim3(1), dim3(1), 0, input<float>(call, 0), call.control);
}

}  // namespace tenon::cuda
