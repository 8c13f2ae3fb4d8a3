// Optimizer steps over slab ranges, in place; formulas in kernels/common/update.hpp. A halted step changes nothing
// but the scale of gradients.
// Operands: parameter, gradient, states, [clip scale] -> parameter, states in the same memory.
#include "kernels/common/update.hpp"

#include <cmath>

#include "kernels/common/math.hpp"
#include "kernels/reference/row_chain.hpp"

namespace tenon::reference {
namespace {

template <class Op>
struct UpdateState {
  Op attributes;
  std::int64_t n;
};

int states_of(const op::SgdUpdate& u) { return u.momentum != 0.f ? 1 : 0; }
int states_of(const op::AdadeltaUpdate&) { return 2; }
int states_of(const op::AdagradUpdate&) { return 1; }
int states_of(const op::RmspropUpdate& u) { return u.momentum != 0.f ? 2 : 1; }
int states_of(const op::AdamUpdate&) { return 2; }

update::Sgd rule_of(const op::SgdUpdate& u, const update::Common& c, const Control&) {
  return {c, u.momentum, u.nesterov};
}
update::Adadelta rule_of(const op::AdadeltaUpdate& u, const update::Common& c, const Control&) {
  return {c, u.rho, u.epsilon};
}
update::Adagrad rule_of(const op::AdagradUpdate& u, const update::Common& c, const Control&) { return {c, u.epsilon}; }
update::Rmsprop rule_of(const op::RmspropUpdate& u, const update::Common& c, const Control&) {
  return {c, u.rho, u.momentum, u.epsilon, u.epsilon_inside};
}
update::Adam rule_of(const op::AdamUpdate& u, const update::Common& c, const Control& control) {
  return update::correct_bias({c, u.beta1, u.beta2, u.epsilon, u.decoupled, 1., 1.}, control.updates + 1);
}

template <class Op, class T>
void run_update(const Call& call) {
  const Control& control = *call.control;
  if (control.halt != 0) return;
  const auto& state = state_of<UpdateState<Op>>(call);
  const auto& u = state.attributes;
  const std::int64_t n = state.n;
  const int states = states_of(u);
  const float clip = u.common.clipped ? static_cast<float>(*in<T>(call, 2 + states)) : 1.f;
  const auto rule =
      rule_of(u, {control.lr * u.common.lr_scale, u.common.weight_decay, u.common.clipped, clip}, control);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) {
    T p = in<T>(call, 0)[i], s[2] = {};
    for (int k = 0; k < states; ++k) s[k] = in<T>(call, 2 + k)[i];
    update::step<math::Policy<T>>(rule, in<T>(call, 1)[i], p, s);
    out<T>(call, 0)[i] = p;
    for (int k = 0; k < states; ++k) out<T>(call, 1 + k)[i] = s[k];
  }
}

template <class T>
void accumulate_grad(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& state = state_of<UpdateState<op::AccumulateGrad>>(call);
  const auto& u = state.attributes;
  const std::int64_t n = state.n;
  const bool first = call.control->micro == 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const T sum = first ? T{0} : in<T>(call, 0)[i];  // before the first one it may hold anything
    out<T>(call, 0)[i] = update::accumulate<math::Policy<T>>(u.scale, first, sum, in<T>(call, 1)[i]);
  }
}

template <class T>
void clip_norm(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& state = state_of<UpdateState<op::ClipNorm>>(call);
  const auto& u = state.attributes;
  const std::int64_t n = state.n;
  const T* g = in<T>(call, 0);
  const T squares = row_chain<T>(n, [&](T acc, std::int64_t i) { return std::fma(g[i], g[i], acc); });
  *out<T>(call, 0) = update::clip_scale<math::Policy<T>>(u.max_norm, std::sqrt(squares));
}

template <class T>
void assign_ema(const Call& call) {
  if (call.control->halt != 0) return;
  const auto& state = state_of<UpdateState<op::AssignEma>>(call);
  const auto& u = state.attributes;
  const std::int64_t n = state.n;
  for (std::int64_t i = 0; i < n; ++i)
    out<T>(call, 0)[i] = update::ema<math::Policy<T>>(u.momentum, in<T>(call, 0)[i], in<T>(call, 1)[i]);
}

template <class T>
void check_finite(const Call& call) {
  if (!std::isfinite(*in<T>(call, 0))) call.control->halt |= Control::not_finite;
}

template <class T>
void unscale_grad(const Call& call) {
  const auto& state = state_of<UpdateState<op::UnscaleGrad>>(call);
  bool overflow = false;
  for (std::int64_t i = 0; i < state.n; ++i) {
    T g = in<T>(call, 0)[i];
    overflow = update::unscale<math::Policy<T>>(state.attributes.scale, g) != 0 || overflow;
    out<T>(call, 0)[i] = g;
  }
  if (overflow) call.control->halt |= Control::overflow;
}

template <class Op>
Bound bind_update(const Problem& p, const Kernel&) {
  const UpdateState<Op> state{p.as<Op>(), p.in[0].shape.elements()};
  const auto states = static_cast<std::size_t>(states_of(state.attributes));
  const std::size_t ins = 2 + states + (state.attributes.common.clipped ? 1 : 0);
  return Binder(p, std::string_view("fffff").substr(0, ins), std::string_view("fff").substr(0, 1 + states))
      .step(run_update<Op, float>, run_update<Op, double>, state);
}
Bound bind_accumulate(const Problem& p, const Kernel&) {
  return Binder(p, "ff", "f")
      .step(accumulate_grad<float>, accumulate_grad<double>,
            UpdateState<op::AccumulateGrad>{p.as<op::AccumulateGrad>(), p.in[0].shape.elements()});
}
Bound bind_clip_norm(const Problem& p, const Kernel&) {
  return Binder(p, "f", "f")
      .step(clip_norm<float>, clip_norm<double>,
            UpdateState<op::ClipNorm>{p.as<op::ClipNorm>(), p.in[0].shape.elements()});
}
Bound bind_assign_ema(const Problem& p, const Kernel&) {
  return Binder(p, "ff", "f")
      .step(assign_ema<float>, assign_ema<double>,
            UpdateState<op::AssignEma>{p.as<op::AssignEma>(), p.in[0].shape.elements()});
}
Bound bind_unscale_grad(const Problem& p, const Kernel&) {
  return Binder(p, "f", "f")
      .step(unscale_grad<float>, unscale_grad<double>,
            UpdateState<op::UnscaleGrad>{p.as<op::UnscaleGrad>(), p.in[0].shape.elements()});
}
Bound bind_check_finite(const Problem& p, const Kernel&) {
  return Binder(p, "f", "").step(check_finite<float>, check_finite<double>, op::CheckFinite{});
}

}  // namespace

void append_update_rows(KernelTable& table) {
  table.push_back(row<op::SgdUpdate>(bind_update<op::SgdUpdate>));
  table.push_back(row<op::AdadeltaUpdate>(bind_update<op::AdadeltaUpdate>));
  table.push_back(row<op::AdagradUpdate>(bind_update<op::AdagradUpdate>));
  table.push_back(row<op::RmspropUpdate>(bind_update<op::RmspropUpdate>));
  table.push_back(row<op::AdamUpdate>(bind_update<op::AdamUpdate>));
  table.push_back(row<op::AccumulateGrad>(bind_accumulate));
  table.push_back(row<op::ClipNorm>(bind_clip_norm, {{order::lanes, order::reduce_chunk}}));
  table.push_back(row<op::AssignEma>(bind_assign_ema));
  table.push_back(row<op::CheckFinite>(bind_check_finite));
  table.push_back(row<op::UnscaleGrad>(bind_unscale_grad));
}

}  // namespace tenon::reference
