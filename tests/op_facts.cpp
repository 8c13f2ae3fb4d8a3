// The records: operands that are tried, axes or elements, chunks of the sums, a random case.
#include "tests/op_facts.hpp"

#include <array>

#include "kernels/common/order.hpp"
#include "lib/ops/visit.hpp"
#include "tenon/error.hpp"
#include "tests/case_forms.hpp"
#include "tests/random_chain.hpp"
#include "tests/random_contractions.hpp"
#include "tests/random_forms.hpp"

namespace tenon::tests {
namespace {

std::int64_t k_chunks(std::int64_t terms) { return order::chunks(terms, order::k_chunk); }
std::int64_t sample_groups(const Shape& s) { return order::chunks(s[0], order::sample_group); }

std::int64_t no_chunks(const Case&) { return 0; }
/// Sums over the last axis of operand i.
template <std::size_t i>
std::int64_t row_chunks(const Case& c) {
  return order::chunks(c.in[i].shape[-1], order::reduce_chunk);
}
std::int64_t conv2d_chunks(const Case& c) { return k_chunks(c.in[1].shape.product(0, 3)); }
std::int64_t conv2d_grad_filter_chunks(const Case& c) { return sample_groups(c.in[0].shape); }
std::int64_t matmul_chunks(const Case& c) {
  return k_chunks(c.in[0].shape[std::get<op::MatMul>(c.op).transpose_a ? 0 : 1]);
}
std::int64_t matmul_grad_a_chunks(const Case& c) { return k_chunks(c.in[0].shape[1]); }
std::int64_t matmul_grad_b_chunks(const Case& c) { return k_chunks(c.in[0].shape[0]); }
std::int64_t bias_grad_chunks(const Case& c) {
  const Shape& s = c.in[0].shape;
  return s.rank() >= 3 ? sample_groups(s) : k_chunks(s.product(0, s.rank() - 1));
}
/// Labels are not summed.
std::int64_t softmax_crossentropy_grad_chunks(const Case& c) {
  return c.in[2].dtype == DType::f32 ? row_chunks<2>(c) : 0;
}
std::int64_t reduce_chunks(const Case& c) {
  const auto& o = std::get<op::Reduce>(c.op);
  if (o.fn == op::ReduceFn::max || o.fn == op::ReduceFn::min) return 0;
  const Shape& s = c.in[0].shape;
  const std::int64_t terms = s.product(o.axis, o.axis + o.count), inner = s.product(o.axis + o.count, s.rank());
  return inner == 1 ? order::chunks(terms, order::reduce_chunk) : k_chunks(terms);
}

Case no_cases(Draw&, const Wish&, op::Kind kind) {
  throw UsageError("[cases] no random cases of " + std::string(op::name_of(kind)));
}

struct FactsOf {
  using enum OpFacts::Operands;
  using enum OpFacts::Sees;

  OpFacts operator()(const op::Conv2d&) const { return {integers, axes, conv2d_chunks, random_conv2d}; }
  OpFacts operator()(const op::Conv2dGradInput&) const { return {integers, axes, no_chunks, random_conv2d}; }
  OpFacts operator()(const op::Conv2dGradFilter&) const {
    return {integers, axes, conv2d_grad_filter_chunks, random_conv2d};
  }
  OpFacts operator()(const op::MatMul&) const { return {integers, axes, matmul_chunks, random_matmul}; }
  OpFacts operator()(const op::MatMulGradA&) const { return {integers, axes, matmul_grad_a_chunks, random_matmul}; }
  OpFacts operator()(const op::MatMulGradB&) const { return {integers, axes, matmul_grad_b_chunks, random_matmul}; }
  OpFacts operator()(const op::BiasAdd&) const { return {integers, axes, no_chunks, random_bias}; }
  OpFacts operator()(const op::BiasGrad&) const { return {integers, axes, bias_grad_chunks, random_bias}; }
  OpFacts operator()(const op::Pool2d&) const { return {integers, axes, no_chunks, random_pool2d}; }
  OpFacts operator()(const op::Pool2dGrad&) const { return {integers, axes, no_chunks, random_pool2d}; }

  OpFacts operator()(const op::Unary&) const { return {reals, elements, no_chunks, random_unary}; }
  OpFacts operator()(const op::UnaryGrad&) const { return {reals, elements, no_chunks, random_unary}; }
  OpFacts operator()(const op::Binary&) const { return {integers, axes, no_chunks, random_binary}; }
  OpFacts operator()(const op::PointwiseChain&) const { return {reals, elements, no_chunks, random_chain}; }
  OpFacts operator()(const op::Dropout&) const { return {integers, elements, no_chunks, random_dropout}; }
  OpFacts operator()(const op::DropoutGrad&) const { return {integers, elements, no_chunks, random_dropout}; }

  OpFacts operator()(const op::Softmax&) const { return {reals, axes, row_chunks<0>, random_softmax}; }
  OpFacts operator()(const op::SoftmaxGrad&) const { return {reals, axes, row_chunks<0>, random_softmax}; }
  OpFacts operator()(const op::SoftmaxCrossEntropy&) const { return {reals, axes, row_chunks<0>, random_class_loss}; }
  OpFacts operator()(const op::SoftmaxCrossEntropyGrad&) const {
    return {reals, axes, softmax_crossentropy_grad_chunks, random_class_loss};
  }
  // Integers for their ties.
  OpFacts operator()(const op::Correct&) const { return {integers, axes, no_chunks, random_class_loss}; }
  OpFacts operator()(const op::SigmoidCrossEntropy&) const { return {reals, elements, no_chunks, random_pair_loss}; }
  OpFacts operator()(const op::SigmoidCrossEntropyGrad&) const {
    return {reals, elements, no_chunks, random_pair_loss};
  }
  OpFacts operator()(const op::BinaryCrossEntropy&) const { return {reals, elements, no_chunks, random_pair_loss}; }
  OpFacts operator()(const op::BinaryCrossEntropyGrad&) const { return {reals, elements, no_chunks, random_pair_loss}; }

  OpFacts operator()(const op::Reshape&) const { return {reals, axes, no_chunks, no_cases}; }  // moves nothing
  OpFacts operator()(const op::Transpose&) const { return {reals, axes, no_chunks, random_transpose}; }
  OpFacts operator()(const op::Concat&) const { return {reals, axes, no_chunks, random_concat}; }
  OpFacts operator()(const op::Slice&) const { return {reals, axes, no_chunks, random_slice}; }
  OpFacts operator()(const op::SliceGrad&) const { return {reals, axes, no_chunks, random_slice}; }
  OpFacts operator()(const op::Gather&) const { return {integers, axes, no_chunks, random_gather}; }
  OpFacts operator()(const op::GatherGrad&) const { return {integers, axes, no_chunks, random_gather}; }
  OpFacts operator()(const op::BroadcastTo&) const { return {reals, axes, no_chunks, random_broadcast_to}; }
  OpFacts operator()(const op::Reduce&) const { return {integers, axes, reduce_chunks, random_reduce}; }
  OpFacts operator()(const op::ReduceSelectGrad&) const { return {integers, axes, no_chunks, random_reduce}; }

  OpFacts operator()(const op::SgdUpdate&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::AdadeltaUpdate&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::AdagradUpdate&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::RmspropUpdate&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::AdamUpdate&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::AccumulateGrad&) const { return {integers, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::ClipNorm&) const { return {reals, elements, row_chunks<0>, random_update}; }
  OpFacts operator()(const op::AssignEma&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::UnscaleGrad&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::CheckFinite&) const { return {reals, elements, no_chunks, random_update}; }
  OpFacts operator()(const op::CustomOp&) const { return {reals, axes, no_chunks, no_cases}; }  // the user's
};

/// In the order of the variant, so that a kind is an index.
template <class... Ops>
std::array<OpFacts, sizeof...(Ops)> table_of(const std::variant<Ops...>*) {
  (require_overload<Ops, FactsOf>(), ...);
  return {FactsOf{}(Ops{})...};
}

}  // namespace

const OpFacts& facts_of(op::Kind kind) {
  static const auto table = table_of(static_cast<const op::AnyOp*>(nullptr));
  return table.at(static_cast<std::size_t>(kind));
}

}  // namespace tenon::tests
