// Random chains of pointwise instructions, for op_facts.cpp.
#pragma once
#include "tests/case_forms.hpp"
#include "tests/random_draw.hpp"

namespace tenon::tests {

/// Instructions whose results stay of the size of the operands, so that f32 and f64 overflow alike: products and gradients
/// take one operand from outside.
inline Case random_chain(Draw& d, const Wish&, op::Kind) {
  using Chain = op::PointwiseChain;
  using enum op::UnaryFn;
  const Shape shape = d.flat_shape(3, 17000);
  std::vector<Shape> operands;
  const int full = d.small(1, 6), singles = d.small(0, 2);
  for (int i = 0; i < full + singles; ++i) operands.push_back(i < full ? shape : i % 2 == 0 ? Shape{} : Shape{1});
  Chain chain;
  for (const int count = d.small(2, Chain::max_count); chain.count < count; ++chain.count) {
    const auto earlier = [&] {
      return static_cast<std::uint8_t>(Chain::max_operands + chain.count - d.small(1, std::min(chain.count, 3)));
    };
    const auto outside = [&](int most) { return static_cast<std::uint8_t>(d.small(0, most - 1)); };
    Chain::Instruction x{.alpha = 0.7f, .beta = -0.4f};
    x.form = d.of({Chain::Form::unary, Chain::Form::unary_grad, Chain::Form::binary, Chain::Form::binary});
    x.a = chain.count > 0 && d.chance(0.8) ? earlier() : outside(full);
    x.b = outside(x.form == Chain::Form::binary ? full + singles : full);
    if (x.form == Chain::Form::binary) {
      const auto fn = d.of({op::BinaryFn::add, op::BinaryFn::sub, op::BinaryFn::mul});
      if (fn != op::BinaryFn::mul && chain.count > 0 && d.chance(0.4))
        x.b = earlier();
      else if (d.chance(0.3))
        std::swap(x.a, x.b);
      x.fn = static_cast<std::uint8_t>(fn);
    } else {
      x.fn = static_cast<std::uint8_t>(d.of({relu, leaky_relu, elu, gelu, silu, sigmoid, tanh, affine, abs}));
    }
    chain.code[chain.count] = x;
  }
  return form::pointwise_chain(chain, operands);
}

}  // namespace tenon::tests
