// Updates: operands are slab ranges, outputs are the same memory, so shapes pass through.
#include "lib/ops/check.hpp"
#include "lib/ops/in_place.hpp"

namespace tenon::op {
namespace {

/// param, grad, states..., [scale] -> param, states...
SpecList update_outputs(std::string_view name, Specs in, std::size_t states, bool clipped) {
  require_operands(name, in, 2 + states + (clipped ? 1 : 0));
  for (std::size_t i = 1; i < 2 + states; ++i) require_same(name, "operand", in[i], in[0]);
  SpecList out{in[0]};
  out.insert(out.end(), states, in[0]);
  return out;
}
Cost update_cost(double flops, Specs in, Specs out) { return per_element(flops, in, out); }

}  // namespace

SpecList infer(const SgdUpdate& u, Specs in) {
  return update_outputs(SgdUpdate::name, in, u.momentum != 0.f ? 1 : 0, u.common.clipped);
}
Cost cost(const SgdUpdate&, Specs in, Specs out) { return update_cost(2, in, out); }
SpecList infer(const AdadeltaUpdate& u, Specs in) {
  return update_outputs(AdadeltaUpdate::name, in, 2, u.common.clipped);
}
Cost cost(const AdadeltaUpdate&, Specs in, Specs out) { return update_cost(16, in, out); }
SpecList infer(const AdagradUpdate& u, Specs in) {
  return update_outputs(AdagradUpdate::name, in, 1, u.common.clipped);
}
Cost cost(const AdagradUpdate&, Specs in, Specs out) { return update_cost(10, in, out); }
SpecList infer(const RmspropUpdate& u, Specs in) {
  return update_outputs(RmspropUpdate::name, in, u.momentum != 0.f ? 2 : 1, u.common.clipped);
}
Cost cost(const RmspropUpdate&, Specs in, Specs out) { return update_cost(12, in, out); }
SpecList infer(const AdamUpdate& u, Specs in) { return update_outputs(AdamUpdate::name, in, 2, u.common.clipped); }
Cost cost(const AdamUpdate&, Specs in, Specs out) { return update_cost(16, in, out); }

SpecList infer(const AccumulateGrad&, Specs in) {
  require_operands(AccumulateGrad::name, in, 2);
  require_same(AccumulateGrad::name, "gradient", in[1], in[0]);
  return {in[0]};
}
Cost cost(const AccumulateGrad&, Specs in, Specs out) { return update_cost(2, in, out); }

SpecList infer(const ClipNorm&, Specs in) {
  require_operands(ClipNorm::name, in, 1);
  return {{in[0].dtype, {1}}};
}
Cost cost(const ClipNorm&, Specs in, Specs out) {
  return {2 * static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}

SpecList infer(const AssignEma&, Specs in) {
  require_operands(AssignEma::name, in, 2);
  require_same(AssignEma::name, "value", in[1], in[0]);
  return {in[0]};
}
Cost cost(const AssignEma&, Specs in, Specs out) { return update_cost(3, in, out); }

SpecList infer(const CheckFinite&, Specs in) {
  require_operands(CheckFinite::name, in, 1);
  if (in[0].shape.elements() != 1) reject(CheckFinite::name, "loss expects one element, found {}", in[0].shape.str());
  return {};
}
Cost cost(const CheckFinite&, Specs in, Specs) { return {1, static_cast<double>(in[0].bytes())}; }

SpecList infer(const UnscaleGrad&, Specs in) {
  require_operands(UnscaleGrad::name, in, 1);
  return {in[0]};
}
Cost cost(const UnscaleGrad&, Specs in, Specs out) { return update_cost(1, in, out); }

}  // namespace tenon::op

namespace tenon {

int shared_input(const Problem& p, int output) {
  if (p.kind < op::kind_of<op::SgdUpdate> || p.kind == op::kind_of<op::ClipNorm> ||
      p.kind == op::kind_of<op::CheckFinite>)
    return -1;
  return output == 0 ? 0 : output + 1;  // parameter, gradient, states
}

}  // namespace tenon
