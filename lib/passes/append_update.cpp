// append_update: pins every gradient to its place in the gradient slab and appends what turns gradients into steps:
// [unscale] -> [accumulate] -> [clip] -> one update per run of neighbouring parameters that are treated alike. A model whose
// parameters are all treated alike gets one kernel.
#include "lib/passes/passes.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

/// A range of every slab, in elements.
struct Range {
  std::int64_t offset = 0, elements = 0;
};

std::int64_t padded(std::int64_t elements) {
  constexpr std::int64_t a = Parameters::alignment;
  return (elements + a - 1) / a * a;
}

class Appender {
 public:
  Appender(Graph& g, const Parameters& p, const UpdatePolicy& policy) : g_(g), parameters_(p), policy_(policy) {}

  void run(const std::vector<Trainable>& trainable) {
    for (const Trainable& t : trainable) pin(t);
    if (trainable.empty()) return;
    g_.scope = "update";
    if (policy_.unscale != 1.f) {
      const ValueId gradients = slab(Space::gradients, all(trainable));
      write(op::UnscaleGrad{policy_.unscale}, {gradients}, {gradients});
    }
    const Space source = policy_.accumulate > 1 ? Space::accumulated : Space::gradients;
    if (policy_.accumulate > 1)
      for (const Range& r : runs(trainable, [](const Trainable&, const Trainable&) { return true; })) {
        const ValueId acc = slab(Space::accumulated, r);
        write(op::AccumulateGrad{1.f / static_cast<float>(policy_.accumulate)}, {acc, slab(Space::gradients, r)},
              {acc});
      }
    if (policy_.apply) apply(trainable, source);
    g_.scope.clear();
  }

 private:
  /// Makes the node of a gradient write straight into the slab; a value that has a home of its own is copied.
  void pin(const Trainable& t) {
    if (t.gradient == no_value) return;  // the loss does not depend on it: the slab stays zero
    const Home place{Space::gradients, bytes(parameters_.list()[t.parameter].offset)};
    Value& v = g_.values[static_cast<std::size_t>(t.gradient)];
    const bool own = v.producer >= 0 && v.home.space == Space::arena &&
                     !std::holds_alternative<op::Reshape>(g_.nodes[static_cast<std::size_t>(v.producer)].op);
    const ValueId target = own ? t.gradient : g_.append1(op::Unary{op::UnaryFn::identity}, {t.gradient});
    g_.values[static_cast<std::size_t>(target)].home = place;
  }

  template <class Alike>
  std::vector<Range> runs(const std::vector<Trainable>& trainable, Alike alike) const {
    std::vector<Range> found;
    for (std::size_t i = 0; i < trainable.size(); ++i) {
      const Parameter& p = parameters_.list()[trainable[i].parameter];
      const std::int64_t end = p.offset + padded(p.shape.elements());
      const bool joins = !found.empty() && found.back().offset + found.back().elements == p.offset &&
                         alike(trainable[i - 1], trainable[i]);
      if (joins)
        found.back().elements = end - found.back().offset;
      else
        found.push_back({p.offset, end - p.offset});
    }
    return found;
  }

  /// Everything that is updated, in one range; frozen ranges between hold zeros.
  [[nodiscard]] Range all(const std::vector<Trainable>& trainable) const {
    const Parameter& last = parameters_.list()[trainable.back().parameter];
    const std::int64_t begin = parameters_.list()[trainable.front().parameter].offset;
    return {begin, last.offset + padded(last.shape.elements()) - begin};
  }

  void apply(const std::vector<Trainable>& trainable, Space source) {
    ValueId scale = no_value;
    if (policy_.clip_norm > 0.f) {
      scale = g_.append1(op::ClipNorm{policy_.clip_norm}, {slab(source, all(trainable))});
    }
    const auto alike = [](const Trainable& a, const Trainable& b) {
      return a.lr_scale == b.lr_scale && a.weight_decay == b.weight_decay;
    };
    std::size_t i = 0;
    for (const Range& r : runs(trainable, alike)) {
      while (parameters_.list()[trainable[i].parameter].offset < r.offset) ++i;
      op::UpdateCommon common{trainable[i].lr_scale, trainable[i].weight_decay.value_or(0.f), scale != no_value};
      const bool own_decay = trainable[i].weight_decay.has_value();
      std::visit([&](const auto& o) { emit(o, common, own_decay, r, source, scale); }, *policy_.optimizer);
    }
  }

  void emit(const Sgd& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::SgdUpdate{c, o.momentum, o.nesterov}, o.momentum != 0.f ? 1 : 0, r, source, scale);
  }
  void emit(const Adadelta& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::AdadeltaUpdate{c, o.rho, o.epsilon}, 2, r, source, scale);
  }
  void emit(const Adagrad& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::AdagradUpdate{c, o.epsilon}, 1, r, source, scale);
  }
  void emit(const RmsProp& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::RmspropUpdate{c, o.rho, o.momentum, o.epsilon, o.epsilon_inside}, o.momentum != 0.f ? 2 : 1, r, source,
           scale);
  }
  void emit(const Adam& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::AdamUpdate{c, o.beta1, o.beta2, o.epsilon, false}, 2, r, source, scale);
  }
  void emit(const AdamW& o, op::UpdateCommon c, bool own_decay, Range r, Space source, ValueId scale) {
    if (!own_decay) c.weight_decay = o.weight_decay;
    update(op::AdamUpdate{c, o.beta1, o.beta2, o.epsilon, true}, 2, r, source, scale);
  }

  void update(const op::AnyOp& op, int states, Range r, Space source, ValueId scale) {
    constexpr Space state_space[] = {Space::state0, Space::state1, Space::state2};
    const ValueId parameter = slab(Space::parameters, r);
    std::vector<ValueId> in{parameter, slab(source, r)}, out{parameter};
    for (int s = 0; s < states; ++s) {
      in.push_back(slab(state_space[s], r));
      out.push_back(in.back());
    }
    if (scale != no_value) in.push_back(scale);
    write(op, in, out);
  }

  /// Appends a node whose outputs are the memory of `places`.
  void write(op::AnyOp op, std::vector<ValueId> in, const std::vector<ValueId>& places) {
    const std::vector<ValueId> out = g_.append(std::move(op), std::move(in));
    for (std::size_t i = 0; i < out.size(); ++i)
      g_.values[static_cast<std::size_t>(out[i])].home = g_.values[static_cast<std::size_t>(places[i])].home;
  }

  ValueId slab(Space space, Range r) { return g_.add_value({g_.dtype, {r.elements}}, {space, bytes(r.offset)}); }
  [[nodiscard]] std::int64_t bytes(std::int64_t elements) const {
    return elements * static_cast<std::int64_t>(size_of(g_.dtype));
  }

  Graph& g_;
  const Parameters& parameters_;
  const UpdatePolicy& policy_;
};

}  // namespace

void append_update(Graph& g, const Parameters& p, const std::vector<Trainable>& trainable, const UpdatePolicy& policy) {
  Appender(g, p, policy).run(trainable);
}

void append_assignments(Graph& g) {
  for (std::size_t i = 0; i < g.assignments.size(); ++i) {
    const auto [state, value] = g.assignments[i];
    const ValueId out = g.append1(op::AssignEma{g.assignment_momentum[i]}, {state, value});
    g.values[static_cast<std::size_t>(out)].home = g.values[static_cast<std::size_t>(state)].home;
  }
}

}  // namespace tenon
