// Chains of pointwise operations: each instruction follows the rules of the operation that it stands for.
#include "lib/ops/check.hpp"

namespace tenon::op {
namespace {

/// Specs of the operands of instruction i, given the chain's operands and the results before it.
SpecList operands_of(const PointwiseChain& chain, std::int32_t i, Specs in, const SpecList& results) {
  const PointwiseChain::Instruction& x = chain.code[i];
  SpecList specs;
  for (const std::uint8_t number : {x.a, x.b}) {
    if (static_cast<int>(specs.size()) == x.arity()) break;
    const auto result = static_cast<std::size_t>(number) - PointwiseChain::max_operands;
    const bool outside = number < PointwiseChain::max_operands;
    if (outside ? number >= in.size() : result >= results.size())
      reject(PointwiseChain::name, "instruction {} reads operand {}, which is not there", i, number);
    specs.push_back(outside ? in[number] : results[result]);
  }
  return specs;
}

/// visit(operation, specs of its operands, spec of its result) for each instruction.
template <class Visitor>
SpecList walk(const PointwiseChain& chain, Specs in, const Visitor& visit) {
  if (chain.count < 1 || chain.count > PointwiseChain::max_count)
    reject(PointwiseChain::name, "expects 1 to {} instructions, found {}", PointwiseChain::max_count, chain.count);
  SpecList results;
  for (std::int32_t i = 0; i < chain.count; ++i) {
    const AnyOp any = op_of(chain.code[i]);
    const SpecList operands = operands_of(chain, i, in, results);
    const SpecList result = infer_node(any, operands);
    visit(any, operands, result);
    results.push_back(result[0]);
  }
  return results;
}

}  // namespace

AnyOp op_of(const PointwiseChain::Instruction& x) {
  switch (x.form) {
    case PointwiseChain::Form::unary:
      return Unary{x.unary(), x.alpha, x.beta};
    case PointwiseChain::Form::unary_grad:
      return UnaryGrad{{x.unary(), x.alpha, x.beta}};
    case PointwiseChain::Form::binary:
      return Binary{x.binary()};
  }
  reject(PointwiseChain::name, "no instruction of form {}", static_cast<int>(x.form));
}

SpecList infer(const PointwiseChain& chain, Specs in) {
  if (in.empty() || in.size() > PointwiseChain::max_operands)
    reject(PointwiseChain::name, "expects 1 to {} operands, found {}", PointwiseChain::max_operands, in.size());
  const SpecList results = walk(chain, in, [](const auto&...) {});
  const std::int64_t n = results.back().shape.elements();
  for (const TensorSpec& s : results)
    if (s.shape.elements() != n)
      reject(PointwiseChain::name, "expects {} elements in every result, found {}", n, s.str());
  for (const TensorSpec& s : in)
    if (s.shape.elements() != n && s.shape.elements() != 1)
      reject(PointwiseChain::name, "operand expects {} elements or one, found {}", n, s.str());
  return {results.back()};
}

Cost cost(const PointwiseChain& chain, Specs in, Specs out) {
  Cost total{0, traffic(in, out)};
  walk(chain, in, [&](const AnyOp& any, const SpecList& operands, const SpecList& result) {
    total.flops += cost_node(any, operands, result).flops;
  });
  return total;
}

}  // namespace tenon::op
