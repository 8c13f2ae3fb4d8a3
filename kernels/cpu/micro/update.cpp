// Optimizer steps over ranges of the parameter, gradient and state slabs, in place and in one pass; the formulas are
// in kernels/common/update.hpp. Elements are independent: threads own blocks of 4096. A halted step changes nothing
// but the scale of gradients.
#include "kernels/common/update.hpp"
#include "kernels/common/math.hpp"
#include "kernels/cpu/micro/folds.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

/// body(offset, lanes) over [0, n), threads over blocks.
template <class Body>
TENON_INLINE void for_each_block(const Call& call, std::int64_t n, const Body& body) {
  constexpr std::int64_t block = 4096;
  const std::int32_t threads = threads_for(call, n);
  // A part that follows a product runs inside a team: it has no time to make another, of one.
  if (threads == 1) return for_each_lanes(n, body);
  parallel_for(threads, blocks_of(n, block), [&](std::int64_t b) {
    for_each_lanes(smaller(block, n - b * block), [&](std::int64_t i, auto lanes) { body(b * block + i, lanes); });
  });
}

TENON_INLINE bool halted(const Call& call) { return call.control->halt != 0; }

TENON_INLINE update::Common common(const Call& call, const UpdateGeometry& g, int states) {
  return {call.control->lr * g.lr_scale, g.weight_decay, g.clipped, g.clipped ? *input<float>(call, 2 + states) : 1.f};
}

/// in: p, g, states...; out: p, states... in the same memory.
template <int states, class Rule>
void run_rule(const Call& call, std::int64_t n, const Rule& shared) {
  const Rule rule = shared;  // a copy that no store can alias stays in registers
  const float *p_in = input<float>(call, 0), *g_in = input<float>(call, 1);
  float* p_out = output<float>(call, 0);
  const float* s_in[2] = {};
  float* s_out[2] = {};
  for (int k = 0; k < states; ++k) {
    s_in[k] = input<float>(call, 2 + k);
    s_out[k] = output<float>(call, 1 + k);
  }
  for_each_block(call, n, [&](std::int64_t i, auto lanes) {
    Vf p = lanes.load(p_in + i), s[2] = {};
    for (int k = 0; k < states; ++k) s[k] = lanes.load(s_in[k] + i);
    update::step<Simd>(rule, lanes.load(g_in + i), p, s);
    lanes.store(p_out + i, p);
    for (int k = 0; k < states; ++k) lanes.store(s_out[k] + i, s[k]);
  });
}

}  // namespace

void sgd(const Call& call) {
  if (halted(call)) return;
  const UpdateGeometry g = update_geometry(call);
  const int states = g.a != 0.f ? 1 : 0;
  const update::Sgd rule{common(call, g, states), g.a, g.flag};
  if (states == 1)
    run_rule<1>(call, g.n, rule);
  else
    run_rule<0>(call, g.n, rule);
}

void adadelta(const Call& call) {
  if (halted(call)) return;
  const UpdateGeometry g = update_geometry(call);
  run_rule<2>(call, g.n, update::Adadelta{common(call, g, 2), g.a, g.epsilon});
}

void adagrad(const Call& call) {
  if (halted(call)) return;
  const UpdateGeometry g = update_geometry(call);
  run_rule<1>(call, g.n, update::Adagrad{common(call, g, 1), g.epsilon});
}

void rmsprop(const Call& call) {
  if (halted(call)) return;
  const UpdateGeometry g = update_geometry(call);
  const int states = g.b != 0.f ? 2 : 1;
  const update::Rmsprop rule{common(call, g, states), g.a, g.b, g.epsilon, g.flag};
  if (states == 2)
    run_rule<2>(call, g.n, rule);
  else
    run_rule<1>(call, g.n, rule);
}

void adam(const Call& call) {
  if (halted(call)) return;
  const UpdateGeometry g = update_geometry(call);
  const update::Adam rule{common(call, g, 2), g.a, g.b, g.epsilon, g.flag, 1., 1.};
  run_rule<2>(call, g.n, update::correct_bias(rule, call.control->updates + 1));
}

void accumulate_grad(const Call& call) {
  if (halted(call)) return;
  const auto& g = geometry<AccumulateGeometry>(call);
  const float *sum = input<float>(call, 0), *gradient = input<float>(call, 1);
  float* out = output<float>(call, 0);
  const bool first = call.control->micro == 0;
  const float scale = g.scale;
  for_each_block(call, g.n, [&](std::int64_t i, auto lanes) {
    // The first micro-batch does not read the sum, which may hold anything.
    const Vf old = first ? Vf{} : lanes.load(sum + i);
    lanes.store(out + i, update::accumulate<Simd>(scale, first, old, lanes.load(gradient + i)));
  });
}

void unscale_grad(const Call& call) {
  const auto& g = geometry<AccumulateGeometry>(call);
  const float* gradient = input<float>(call, 0);
  float* out = output<float>(call, 0);
  const float scale = g.scale;
  std::uint32_t* halt = &call.control->halt;
  for_each_block(call, g.n, [&](std::int64_t i, auto lanes) {
    Vf v = lanes.load(gradient + i);  // zeros where there is no lane
    const auto overflow = update::unscale<Simd>(scale, v);
    lanes.store(out + i, v);
    if (__builtin_expect(Simd::any(overflow), 0)) __atomic_fetch_or(halt, Control::overflow, __ATOMIC_RELAXED);
  });
}

// The norm over the whole range, in the canonical order of a row.
void clip_norm(const Call& call) {
  if (halted(call)) return;
  const auto& g = geometry<ClipGeometry>(call);
  float squares = 0.f;
  fold_rows<SumOfSquares>(call, input<float>(call, 0), 1, g.n, static_cast<float*>(call.workspace), &squares);
  *output<float>(call, 0) = update::clip_scale<math::Scalar>(g.max_norm, math::Scalar::sqrt(squares));
}

void assign_ema(const Call& call) {
  if (halted(call)) return;
  const auto& g = geometry<EmaGeometry>(call);
  const float *state = input<float>(call, 0), *value = input<float>(call, 1);
  float* out = output<float>(call, 0);
  const float momentum = g.momentum;
  for_each_block(call, g.n, [&](std::int64_t i, auto lanes) {
    lanes.store(out + i, update::ema<Simd>(momentum, lanes.load(state + i), lanes.load(value + i)));
  });
}

void check_finite(const Call& call) {
  std::uint32_t bits;
  std::memcpy(&bits, call.in[0], 4);
  if ((bits & 0x7F800000u) == 0x7F800000u) call.control->halt |= Control::not_finite;
}

}  // namespace tenon::cpu::TENON_ISA
