// Chains of pointwise operations, one element after another: every instruction for element i, then element i + 1.
#include <string>

#include "kernels/reference/pointwise.hpp"

namespace tenon::reference {
namespace {

using op::PointwiseChain;

struct ChainGeometry {
  PointwiseChain chain;
  std::int64_t n, stride[PointwiseChain::max_operands];  // 0: one value
};

template <class T>
T execute(const PointwiseChain::Instruction& x, T a, T b) {
  if (x.form == PointwiseChain::Form::unary) return unary_value(x.unary(), x.alpha, x.beta, a);
  if (x.form == PointwiseChain::Form::unary_grad) return unary_gradient(x.unary(), x.alpha, a, b);
  T y{};
  pointwise::with_binary<math::Policy<T>>(x.binary(), [&](const auto& f) { y = f.value(a, b); });
  return y;
}

template <class T>
void pointwise_chain(const Call& call) {
  const auto& g = state_of<ChainGeometry>(call);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t i = 0; i < g.n; ++i) {
    T result[PointwiseChain::max_count] = {};
    const auto value = [&](std::uint8_t number) {
      return number < PointwiseChain::max_operands ? in<T>(call, number)[i * g.stride[number]]
                                                   : result[number - PointwiseChain::max_operands];
    };
    for (std::int32_t k = 0; k < g.chain.count; ++k) {
      const PointwiseChain::Instruction& x = g.chain.code[k];
      const T a = value(x.a);
      result[k] = execute(x, a, x.arity() == 2 ? value(x.b) : a);
    }
    y[i] = result[g.chain.count - 1];
  }
}

Bound bind_pointwise_chain(const Problem& p, const Kernel&) {
  const Binder binder(p, std::string(static_cast<std::size_t>(p.ins), 'f'), "f");
  if (binder.refused()) return binder.refusal();
  ChainGeometry g{p.as<PointwiseChain>(), p.out[0].shape.elements(), {}};
  for (int i = 0; i < p.ins; ++i) g.stride[i] = p.in[i].shape.elements() == g.n ? 1 : 0;
  return binder.step(pointwise_chain<float>, pointwise_chain<double>, g);
}

}  // namespace

void append_pointwise_chain_rows(KernelTable& table) { table.push_back(row<PointwiseChain>(bind_pointwise_chain)); }

}  // namespace tenon::reference
