// Binds the updates: optimizer steps over slab ranges, gradient accumulation, clipping, running means, the loss check.
#include "kernels/bind/support.hpp"
#include "kernels/common/order.hpp"

namespace tenon::bind {
namespace {

/// Operands: parameter, gradient, `states` states, and the clip scale where the gradient is clipped.
Bound bind_rule(const Problem& p, RunFn run, const op::UpdateCommon& common, int states, UpdateGeometry g) {
  const int expected = 2 + states + (common.clipped ? 1 : 0);
  if (p.ins != expected || p.outs != 1 + states)
    return Refusal{"expects " + std::to_string(expected) + " operands and " + std::to_string(1 + states) +
                   " results, found " + std::to_string(p.ins) + " and " + std::to_string(p.outs)};
  if (auto refusal = refuse_unless_f32(p, p.ins)) return *refusal;
  g.n = p.in[0].shape.elements();
  g.lr_scale = common.lr_scale;
  g.weight_decay = common.weight_decay;
  g.clipped = common.clipped;
  return make_step(run, g);
}

Bound bind_sgd(const Problem& p, const Kernel& row) {
  const auto& u = p.as<op::SgdUpdate>();
  UpdateGeometry g{};
  g.a = u.momentum;
  g.flag = u.nesterov;
  return bind_rule(p, loops(row).sgd, u.common, u.momentum != 0.f ? 1 : 0, g);
}
Bound bind_adadelta(const Problem& p, const Kernel& row) {
  const auto& u = p.as<op::AdadeltaUpdate>();
  UpdateGeometry g{};
  g.a = u.rho;
  g.epsilon = u.epsilon;
  return bind_rule(p, loops(row).adadelta, u.common, 2, g);
}
Bound bind_adagrad(const Problem& p, const Kernel& row) {
  const auto& u = p.as<op::AdagradUpdate>();
  UpdateGeometry g{};
  g.epsilon = u.epsilon;
  return bind_rule(p, loops(row).adagrad, u.common, 1, g);
}
Bound bind_rmsprop(const Problem& p, const Kernel& row) {
  const auto& u = p.as<op::RmspropUpdate>();
  UpdateGeometry g{};
  g.a = u.rho;
  g.b = u.momentum;
  g.epsilon = u.epsilon;
  g.flag = u.epsilon_inside;
  return bind_rule(p, loops(row).rmsprop, u.common, u.momentum != 0.f ? 2 : 1, g);
}
Bound bind_adam(const Problem& p, const Kernel& row) {
  const auto& u = p.as<op::AdamUpdate>();
  UpdateGeometry g{};
  g.a = u.beta1;
  g.b = u.beta2;
  g.epsilon = u.epsilon;
  g.flag = u.decoupled;
  return bind_rule(p, loops(row).adam, u.common, 2, g);
}

Bound bind_accumulate_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 2)) return *refusal;
  return make_step(loops(row).accumulate_grad,
                   AccumulateGeometry{p.in[0].shape.elements(), p.as<op::AccumulateGrad>().scale});
}
Bound bind_clip_norm(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  const ClipGeometry g{p.in[0].shape.elements(), p.as<op::ClipNorm>().max_norm};
  const std::int64_t chunks = order::chunks(g.n, order::reduce_chunk);
  return make_step(loops(row).clip_norm, g, chunks == 1 ? 0 : static_cast<std::size_t>(chunks) * 4);
}
Bound bind_assign_ema(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 2)) return *refusal;
  return make_step(loops(row).assign_ema, EmaGeometry{p.in[0].shape.elements(), p.as<op::AssignEma>().momentum});
}
Bound bind_unscale_grad(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  return make_step(loops(row).unscale_grad,
                   AccumulateGeometry{p.in[0].shape.elements(), p.as<op::UnscaleGrad>().scale});
}
Bound bind_check_finite(const Problem& p, const Kernel& row) {
  if (auto refusal = refuse_unless_f32(p, 1)) return *refusal;
  return Step{loops(row).check_finite, nullptr, 0};
}

}  // namespace

void append_update_rows(KernelTable& table, const Loops& m) {
  const Edges edges{{m.width, 4096, 1024}};
  // A device's loops read four elements at an aligned address, and a part may begin anywhere.
  const Pieces pieces = std::string_view(m.provider).starts_with("cpu.") ? Pieces::elements : Pieces::none;
  append<op::SgdUpdate>(table, m, {m.sgd}, bind_sgd, edges, pieces);
  append<op::AdadeltaUpdate>(table, m, {m.adadelta}, bind_adadelta, edges, pieces);
  append<op::AdagradUpdate>(table, m, {m.adagrad}, bind_adagrad, edges, pieces);
  append<op::RmspropUpdate>(table, m, {m.rmsprop}, bind_rmsprop, edges, pieces);
  append<op::AdamUpdate>(table, m, {m.adam}, bind_adam, edges, pieces);
  append<op::AccumulateGrad>(table, m, {m.accumulate_grad}, bind_accumulate_grad, edges);
  append<op::ClipNorm>(table, m, {m.clip_norm}, bind_clip_norm, edges);
  append<op::AssignEma>(table, m, {m.assign_ema}, bind_assign_ema, edges);
  append<op::CheckFinite>(table, m, {m.check_finite}, bind_check_finite, edges);
  append<op::UnscaleGrad>(table, m, {m.unscale_grad}, bind_unscale_grad, edges);
}

}  // namespace tenon::bind
