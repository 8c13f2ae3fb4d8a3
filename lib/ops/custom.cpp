// The user's own operations: rules call the functions that the user gave.
#include "lib/ops/check.hpp"
#include "tenon/custom_op.hpp"

namespace tenon::op {

SpecList infer(const CustomOp& c, Specs in) {
  try {
    return c.def->infer(in);
  } catch (const UsageError& e) {
    const std::string text = e.what();
    if (!text.empty() && text[0] == '[') throw;
    reject(c.def->name, "{}", text);
  }
}

void vjp(const CustomOp& c, Vjp& v) {
  if (!c.def->vjp) reject(c.def->name, "has no gradient rule: define_op() was given no .vjp");
  Graph& g = v.graph();
  CustomVjp view;
  for (int i = 0; i < v.inputs(); ++i) view.inputs.emplace_back(&g, v.input(i));
  const std::size_t outputs = c.def
                                  ->infer(g.specs([&] {
                                    std::vector<ValueId> ids;
                                    for (int i = 0; i < v.inputs(); ++i) ids.push_back(v.input(i));
                                    return ids;
                                  }()))
                                  .size();
  for (std::size_t i = 0; i < outputs; ++i) {
    view.outputs.emplace_back(&g, v.output(static_cast<int>(i)));
    const ValueId grad = v.grad(static_cast<int>(i));
    view.grads.push_back(grad == no_value ? Tensor{} : Tensor{&g, grad});
  }
  const std::vector<Tensor> result = c.def->vjp(view);
  if (result.size() != static_cast<std::size_t>(v.inputs()))
    reject(c.def->name, "gradient rule expects {} results (an empty Tensor where there is none), found {}", v.inputs(),
           result.size());
  for (int i = 0; i < v.inputs(); ++i) {
    const Tensor& t = result[static_cast<std::size_t>(i)];
    if (!t || !v.wants(i)) continue;
    require_same(c.def->name, "gradient", g.spec(t.id()), g.spec(v.input(i)));
    v.accumulate(i, t.id());
  }
}

Cost cost(const CustomOp&, Specs in, Specs out) { return {0, traffic(in, out)}; }

}  // namespace tenon::op

namespace tenon {

std::vector<Tensor> CustomFunction::apply(const std::vector<Tensor>& inputs) const {
  if (inputs.empty()) reject(def_->name, "expects at least one operand, found none");
  Graph& g = inputs[0].graph();
  std::vector<ValueId> in;
  for (const Tensor& t : inputs) {
    (void)graph_of(def_->name, inputs[0], t);
    in.push_back(t.id());
  }
  std::vector<Tensor> out;
  for (const ValueId v : g.append(op::CustomOp{def_}, in)) out.emplace_back(&g, v);
  return out;
}

CustomFunction define_op(CustomDef def) {
  if (def.name.empty()) reject("define_op", "expects a name, found none");
  if (!def.infer) reject("define_op", "'{}' expects a shape rule .infer, found none", def.name);
  if (!def.reference) reject("define_op", "'{}' expects a definition .reference, found none", def.name);
  return CustomFunction(std::make_shared<const CustomDef>(std::move(def)));
}

std::vector<TensorSpec> same_shape(std::span<const TensorSpec> in) {
  if (in.empty()) throw UsageError("[same_shape] expects at least one operand, found none");
  return {in[0]};
}

}  // namespace tenon
