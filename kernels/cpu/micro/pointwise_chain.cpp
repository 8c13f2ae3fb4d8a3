// pointwise_chain   r_i = f_i(operands, r_0 .. r_(i-1)); y is the last result
// Instructions run one after another over a block of elements; their results lie in a buffer on the stack, small enough
// for the first cache. Functors are those of pointwise.cpp, so the bits are those of the operations one by one.
// Threads own blocks.
#include "kernels/common/pointwise.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

using op::PointwiseChain;

constexpr std::int64_t block = 512;

/// What an instruction reads in this block: a run of elements, or one value for all.
struct Source {
  const float* p;
  bool one_value;
};

/// y = f(a, b) over n elements. An instruction over the full count reads at most one repeated value.
template <class F>
TENON_INLINE void map2(Source a, Source b, float* y, std::int64_t n, const F& f) {
  if (a.one_value) {
    const Vf v = Simd::set(*a.p);
    for_each_lanes(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f(v, lanes.load(b.p + i))); });
  } else if (b.one_value) {
    const Vf v = Simd::set(*b.p);
    for_each_lanes(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f(lanes.load(a.p + i), v)); });
  } else {
    for_each_lanes(
        n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f(lanes.load(a.p + i), lanes.load(b.p + i))); });
  }
}

void execute(const PointwiseChain::Instruction& x, Source a, Source b, float* y, std::int64_t n) {
  switch (x.form) {
    case PointwiseChain::Form::unary:
      return pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(x.fn), x.alpha, x.beta, [&](auto f) {
        for_each_lanes(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f.value(lanes.load(a.p + i))); });
      });
    case PointwiseChain::Form::unary_grad:
      return pointwise::with_unary<Simd>(static_cast<op::UnaryFn>(x.fn), x.alpha, x.beta, [&](auto f) {
        for_each_lanes(n, [&](std::int64_t i, auto lanes) {
          lanes.store(y + i, f.gradient(lanes.load(a.p + i), lanes.load(b.p + i)));
        });
      });
    case PointwiseChain::Form::binary:
      return pointwise::with_binary<Simd>(static_cast<op::BinaryFn>(x.fn), [&](auto f) {
        map2(a, b, y, n, [f](Vf left, Vf right) { return f.value(left, right); });
      });
  }
}

}  // namespace

void pointwise_chain(const Call& call) {
  const auto& g = geometry<ChainGeometry>(call);
  float* y = output<float>(call, 0);
  const std::int32_t last = g.chain.count - 1;
  parallel_for(threads_for(call, g.n * g.chain.count), blocks_of(g.n, block), [&](std::int64_t item) {
    alignas(64) float result[PointwiseChain::max_count - 1][block];
    const std::int64_t begin = item * block, n = smaller(block, g.n - begin);
    const auto source = [&](std::uint8_t number) {
      if (number >= PointwiseChain::max_operands) return Source{result[number - PointwiseChain::max_operands], false};
      const float* p = input<float>(call, number);
      return g.one_value[number] ? Source{p, true} : Source{p + begin, false};
    };
    for (std::int32_t k = 0; k <= last; ++k) {
      const PointwiseChain::Instruction& x = g.chain.code[k];
      const Source a = source(x.a), b = x.form == PointwiseChain::Form::unary ? a : source(x.b);
      execute(x, a, b, k == last ? y + begin : result[k], n);
    }
  });
}

}  // namespace tenon::cpu::TENON_ISA
