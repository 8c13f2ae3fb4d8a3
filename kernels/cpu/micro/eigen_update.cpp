// Optimizer steps, gradient accumulation, clipping and running means as Eigen array expressions over blocks of 1024
// elements, in place; the formulas are written out in kernels/common/update.hpp. Threads own blocks. A halted step
// changes nothing but the scale of gradients.
#include "kernels/common/update.hpp"
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

/// What an expression needs twice while its operands change: a block on the stack.
inline constexpr std::int64_t update_block = 1024;
using Temporary = Eigen::Array<float, Eigen::Dynamic, 1, Eigen::ColMajor, update_block, 1>;

/// One block of the operands: p, g and states as they were, and where p and the states go (the same memory).
struct Block {
  std::int64_t begin, count;
  const Call& call;

  TENON_MEMBER In parameter() const { return {input<float>(call, 0) + begin, count}; }
  TENON_MEMBER In gradient() const { return {input<float>(call, 1) + begin, count}; }
  TENON_MEMBER In state(int k) const { return {input<float>(call, 2 + k) + begin, count}; }
  TENON_MEMBER Out new_parameter() const { return {output<float>(call, 0) + begin, count}; }
  TENON_MEMBER Out new_state(int k) const { return {output<float>(call, 1 + k) + begin, count}; }
};

/// body(block, scaled and decayed gradient, lr); `states` tells where the clip scale is.
template <class Body>
TENON_INLINE void for_each_update(const Call& call, const UpdateGeometry& g, int states, bool decoupled,
                                  const Body& body) {
  if (call.control->halt != 0) return;
  const float lr = call.control->lr * g.lr_scale, clip = g.clipped ? *input<float>(call, 2 + states) : 1.f;
  const float decay = decoupled ? 0.f : g.weight_decay;
  parallel_for(threads_for(call, g.n), blocks_of(g.n, update_block), [&](std::int64_t b) {
    const Block at{b * update_block, smaller(update_block, g.n - b * update_block), call};
    Temporary gradient = at.gradient();
    if (g.clipped) gradient *= clip;
    if (decay != 0.f) gradient += decay * at.parameter();
    body(at, gradient, lr);
  });
}

}  // namespace

void sgd(const Call& call) {
  const UpdateGeometry g = update_geometry(call);
  const float momentum = g.a;
  const bool nesterov = g.flag;
  for_each_update(call, g, momentum != 0.f ? 1 : 0, false, [=](const Block& at, const Temporary& gradient, float lr) {
    if (momentum == 0.f) {
      at.new_parameter() = at.parameter() - lr * gradient;
      return;
    }
    Out v = at.new_state(0);
    v = momentum * at.state(0) + gradient;
    if (nesterov)
      at.new_parameter() = at.parameter() - lr * (momentum * v + gradient);
    else
      at.new_parameter() = at.parameter() - lr * v;
  });
}

void adadelta(const Call& call) {
  const UpdateGeometry g = update_geometry(call);
  const float rho = g.a, epsilon = g.epsilon;
  for_each_update(call, g, 2, false, [=](const Block& at, const Temporary& gradient, float lr) {
    Out mean = at.new_state(0);
    mean = rho * at.state(0) + (1.f - rho) * gradient.square();
    const Temporary dx = ((at.state(1) + epsilon) / (mean + epsilon)).sqrt() * gradient;
    at.new_parameter() = at.parameter() - lr * dx;
    at.new_state(1) = rho * at.state(1) + (1.f - rho) * dx.square();
  });
}

void adagrad(const Call& call) {
  const UpdateGeometry g = update_geometry(call);
  const float epsilon = g.epsilon;
  for_each_update(call, g, 1, false, [=](const Block& at, const Temporary& gradient, float lr) {
    Out sum = at.new_state(0);
    sum = at.state(0) + gradient.square();
    at.new_parameter() = at.parameter() - lr * (gradient / (sum.sqrt() + epsilon));
  });
}

void rmsprop(const Call& call) {
  const UpdateGeometry g = update_geometry(call);
  const float rho = g.a, momentum = g.b, epsilon = g.epsilon;
  const bool inside_root = g.flag;
  for_each_update(call, g, momentum != 0.f ? 2 : 1, false, [=](const Block& at, const Temporary& gradient, float lr) {
    Out mean = at.new_state(0);
    mean = rho * at.state(0) + (1.f - rho) * gradient.square();
    Temporary step(at.count);
    if (inside_root)
      step = gradient / (mean + epsilon).sqrt();
    else
      step = gradient / (mean.sqrt() + epsilon);
    if (momentum != 0.f) {
      step += momentum * at.state(1);
      at.new_state(1) = step;
    }
    at.new_parameter() = at.parameter() - lr * step;
  });
}

void adam(const Call& call) {
  const UpdateGeometry g = update_geometry(call);
  const float beta1 = g.a, beta2 = g.b, epsilon = g.epsilon;
  const std::uint32_t t = call.control->updates + 1;
  const auto correction1 = static_cast<float>(1. - update::pow_int(static_cast<double>(beta1), t));
  const auto correction2 = static_cast<float>(1. - update::pow_int(static_cast<double>(beta2), t));
  const float decay = g.flag ? g.weight_decay : 0.f;
  for_each_update(call, g, 2, g.flag, [=](const Block& at, const Temporary& gradient, float lr) {
    Out m = at.new_state(0), v = at.new_state(1);
    m = beta1 * at.state(0) + (1.f - beta1) * gradient;
    v = beta2 * at.state(1) + (1.f - beta2) * gradient.square();
    const float kept = 1.f - lr * decay;
    at.new_parameter() = kept * at.parameter() - lr * (m / correction1 / ((v / correction2).sqrt() + epsilon));
  });
}

void accumulate_grad(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& g = geometry<AccumulateGeometry>(call);
  const float *sum = input<float>(call, 0), *gradient = input<float>(call, 1), scale = g.scale;
  float* out = output<float>(call, 0);
  // The first micro-batch does not read the sum, which may hold anything.
  const bool first = call.control->micro == 0;
  for_each_block(call, g.n, [&](std::int64_t i, std::int64_t count) {
    if (first)
      Out(out + i, count) = scale * In(gradient + i, count);
    else
      Out(out + i, count) = In(sum + i, count) + scale * In(gradient + i, count);
  });
}

void unscale_grad(const Call& call) {
  const auto& g = geometry<AccumulateGeometry>(call);
  const float *gradient = input<float>(call, 0), scale = g.scale;
  float* out = output<float>(call, 0);
  std::uint32_t* halt = &call.control->halt;
  for_each_block(call, g.n, [&](std::int64_t i, std::int64_t count) {
    Out to(out + i, count);
    to = scale * In(gradient + i, count);
    if (!to.isFinite().all()) __atomic_fetch_or(halt, Control::overflow, __ATOMIC_RELAXED);
  });
}

void clip_norm(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& g = geometry<ClipGeometry>(call);
  const float* gradient = input<float>(call, 0);
  float total = 0.f;
  float* squares = g.n <= block ? &total : static_cast<float*>(call.workspace);
  for_each_block(call, g.n, [&](std::int64_t i, std::int64_t count) {
    squares[i / block] = In(gradient + i, count).square().sum();
  });
  if (g.n > block) total = In(squares, blocks_of(g.n, block)).sum();
  const float norm = __builtin_sqrtf(total);
  const float scale = norm > g.max_norm ? g.max_norm / norm : 1.f;
  *output<float>(call, 0) = norm == norm ? scale : norm;
}

void assign_ema(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& g = geometry<EmaGeometry>(call);
  const float *state = input<float>(call, 0), *value = input<float>(call, 1), momentum = g.momentum;
  float* out = output<float>(call, 0);
  for_each_block(call, g.n, [&](std::int64_t i, std::int64_t count) {
    // Without momentum the state is replaced, whatever it holds.
    if (momentum == 0.f)
      Out(out + i, count) = In(value + i, count);
    else
      Out(out + i, count) = momentum * In(state + i, count) + (1.f - momentum) * In(value + i, count);
  });
}

void check_finite(const Call& call) {
  if (!In(input<float>(call, 0), 1).isFinite().all()) call.control->halt |= Control::not_finite;
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
