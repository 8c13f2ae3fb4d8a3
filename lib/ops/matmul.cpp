// matmul: y = epilogue(op(a) op(b)), a (m,k), b (k,n), either transposed. bias_add: x (..., c) + bias (c).
#include "lib/ops/check.hpp"
#include "lib/ops/epilogue.hpp"
#include "tenon/ops.hpp"

namespace tenon::op {
namespace {

Shape plain_output(const MatMul& m, const TensorSpec& a, const TensorSpec& b) {
  const std::int64_t rows = a.shape[m.transpose_a ? 1 : 0], ka = a.shape[m.transpose_a ? 0 : 1];
  const std::int64_t kb = b.shape[m.transpose_b ? 1 : 0], cols = b.shape[m.transpose_b ? 0 : 1];
  if (ka != kb)
    reject(MatMul::name, "inner extents expect to be equal, found {} and {}: a {}{}, b {}{}", ka, kb, a.shape.str(),
           m.transpose_a ? " transposed" : "", b.shape.str(), m.transpose_b ? " transposed" : "");
  return {rows, cols};
}

void check_saved(std::string_view op, const Epilogue& e, Specs in) {
  require_operands(op, in, e.gradient_reads_saved() ? 3 : 2);
  require_rank(op, "gradient (m,n)", in[0], 2);
  require_rank(op, "operand", in[1], 2);
  if (e.gradient_reads_saved() && in[2].shape != in[0].shape)
    reject(op, "saved value expects the shape of the gradient {}, found {}", in[0].shape.str(), in[2].shape.str());
}

}  // namespace

SpecList infer(const MatMul& m, Specs in) {
  require_operands(MatMul::name, in, m.epilogue.bias ? 3 : 2);
  require_rank(MatMul::name, "a (m,k)", in[0], 2);
  require_rank(MatMul::name, "b (k,n)", in[1], 2);
  require_float(MatMul::name, "a", in[0]);
  require_same_dtype(MatMul::name, in[0], in[1]);
  if (m.epilogue.pool) reject(MatMul::name, "takes no pooled epilogue");
  return epilogue_outputs(MatMul::name, m.epilogue, {in[0].dtype, plain_output(m, in[0], in[1])}, in);
}

Cost cost(const MatMul& m, Specs in, Specs out) {
  const double k = static_cast<double>(in[0].shape[m.transpose_a ? 0 : 1]);
  return {2 * k * static_cast<double>(out[0].shape.elements()), traffic(in, out)};
}

void vjp(const MatMul& m, Vjp& v) {
  const ValueId gy = v.grad(), a = v.input(0), b = v.input(1);
  std::vector<ValueId> saved;
  if (m.epilogue.gradient_reads_saved()) saved.push_back(v.output(m.epilogue.saves_mask() ? 1 : 0));
  const bool wants_bias = m.epilogue.bias && v.wants(2);
  if (v.wants(1) || wants_bias) {
    std::vector<ValueId> in{gy, a};
    in.insert(in.end(), saved.begin(), saved.end());
    const std::vector<ValueId> out = v.emit_all(MatMulGradB{m}, in);
    if (v.wants(1)) v.accumulate(1, out[0]);
    if (wants_bias) v.accumulate(2, out[1]);
  }
  if (v.wants(0)) {
    std::vector<ValueId> in{gy, b};
    in.insert(in.end(), saved.begin(), saved.end());
    v.accumulate(0, v.emit(MatMulGradA{m}, in));
  }
}

SpecList infer(const MatMulGradA& g, Specs in) {
  check_saved(MatMulGradA::name, g.forward.epilogue, in);
  const bool ta = g.forward.transpose_a, tb = g.forward.transpose_b;
  const std::int64_t m = in[0].shape[0], n = in[0].shape[1];
  const std::int64_t k = in[1].shape[tb ? 1 : 0], nb = in[1].shape[tb ? 0 : 1];
  if (n != nb)
    reject(MatMulGradA::name, "columns expect to be equal, found {} and {}", in[0].shape.str(), in[1].shape.str());
  return {{in[0].dtype, ta ? Shape{k, m} : Shape{m, k}}};
}
Cost cost(const MatMulGradA& g, Specs in, Specs out) {
  (void)g;
  return {2 * static_cast<double>(in[0].shape[1]) * static_cast<double>(out[0].shape.elements()), traffic(in, out)};
}

SpecList infer(const MatMulGradB& g, Specs in) {
  check_saved(MatMulGradB::name, g.forward.epilogue, in);
  const bool ta = g.forward.transpose_a, tb = g.forward.transpose_b;
  const std::int64_t m = in[0].shape[0], n = in[0].shape[1];
  const std::int64_t k = in[1].shape[ta ? 0 : 1], ma = in[1].shape[ta ? 1 : 0];
  if (m != ma)
    reject(MatMulGradB::name, "rows expect to be equal, found {} and {}", in[0].shape.str(), in[1].shape.str());
  SpecList out{{in[0].dtype, tb ? Shape{n, k} : Shape{k, n}}};
  if (g.forward.epilogue.bias) out.push_back({in[0].dtype, {n}});
  return out;
}
Cost cost(const MatMulGradB& g, Specs in, Specs out) {
  (void)g;
  return {2 * static_cast<double>(in[0].shape[0]) * static_cast<double>(out[0].shape.elements()), traffic(in, out)};
}

SpecList infer(const BiasAdd&, Specs in) {
  require_operands(BiasAdd::name, in, 2);
  require_float(BiasAdd::name, "x", in[0]);
  if (in[0].shape.rank() < 1) reject(BiasAdd::name, "x expects at least one axis, found a scalar");
  require_same(BiasAdd::name, "bias", in[1], {in[0].dtype, {in[0].shape[-1]}});
  return {in[0]};
}
void vjp(const BiasAdd&, Vjp& v) {
  if (v.wants(0)) v.accumulate(0, v.grad());
  if (v.wants(1)) v.accumulate(1, v.emit(BiasGrad{}, {v.grad()}));
}
Cost cost(const BiasAdd&, Specs in, Specs out) { return per_element(1, in, out); }

SpecList infer(const BiasGrad&, Specs in) {
  require_operands(BiasGrad::name, in, 1);
  return {{in[0].dtype, {in[0].shape[-1]}}};
}
Cost cost(const BiasGrad&, Specs in, Specs out) {
  return {static_cast<double>(in[0].shape.elements()), traffic(in, out)};
}

}  // namespace tenon::op

namespace tenon {

Tensor matmul(Tensor a, Tensor b, MatMulOptions o) {
  Graph& g = graph_of(op::MatMul::name, a, b);
  return {&g, g.append1(op::MatMul{o.transpose_a, o.transpose_b, {}}, {a.id(), b.id()})};
}

Tensor bias_add(Tensor x, Tensor bias) {
  Graph& g = graph_of(op::BiasAdd::name, x, bias);
  return {&g, g.append1(op::BiasAdd{}, {x.id(), bias.id()})};
}

}  // namespace tenon
