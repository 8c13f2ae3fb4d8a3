// unary        y = f(x)
// unary_grad   gx = gy f'(saved), saved x or y; formulas in kernels/common/pointwise.hpp
// binary       y = a op b, broadcast by strides: an operand is contiguous along the innermost axis, or one value there
// Threads own blocks of outputs; for binary, blocks of the innermost axis.
#include "kernels/common/pointwise.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t block = 4096;

/// body(offset, lanes) over [0, n), one loop for each block.
template <class Body>
TENON_INLINE void in_blocks(const Call& call, std::int64_t n, const Body& body) {
  parallel_for(threads_for(call, n), blocks_of(n, block), [&](std::int64_t b) {
    const std::int64_t begin = b * block;
    for_each_lanes(smaller(block, n - begin), [&](std::int64_t i, auto lanes) { body(begin + i, lanes); });
  });
}

/// One operand of a binary function along the innermost axis.
struct Contiguous {
  const float* p;
  template <class Lanes>
  TENON_MEMBER Vf load(std::int64_t i, Lanes lanes) const {
    return lanes.load(p + i);
  }
};
struct OneValue {
  Vf v;
  template <class Lanes>
  TENON_MEMBER Vf load(std::int64_t, Lanes) const {
    return v;
  }
};
struct Strided {
  const float* p;
  std::int64_t stride;
  TENON_MEMBER Vf load(std::int64_t i, Whole) const { return gather(i, width); }
  TENON_MEMBER Vf load(std::int64_t i, Part part) const { return gather(i, part.count); }
  TENON_MEMBER Vf gather(std::int64_t i, std::int64_t count) const {
    float lane[width] = {};
    for (std::int64_t l = 0; l < count; ++l) lane[l] = p[(i + l) * stride];
    return Simd::load(lane);
  }
};

/// visit(operand) for the operand's stride.
template <class Visitor>
TENON_INLINE void with_operand(const float* p, std::int64_t stride, const Visitor& visit) {
  if (stride == 1)
    visit(Contiguous{p});
  else if (stride == 0)
    visit(OneValue{Simd::set(*p)});
  else
    visit(Strided{p, stride});
}

template <class F>
TENON_INLINE void binary_row(const float* a, std::int64_t stride_a, const float* b, std::int64_t stride_b, float* y,
                             std::int64_t n) {
  with_operand(a, stride_a, [&](auto left) {
    with_operand(b, stride_b, [&](auto right) {
      for_each_lanes(n, [&](std::int64_t i, auto lanes) {
        lanes.store(y + i, F::value(left.load(i, lanes), right.load(i, lanes)));
      });
    });
  });
}

template <class F>
void binary_with(const Call& call, const BinaryGeometry& g) {
  const float *a = input<float>(call, 0), *b = input<float>(call, 1);
  float* y = output<float>(call, 0);
  const int inner = g.rank - 1;
  const std::int64_t n = g.extent[inner], blocks = blocks_of(n, block);
  std::int64_t rows = 1;
  for (int axis = 0; axis < inner; ++axis) rows *= g.extent[axis];
  parallel_for(threads_for(call, rows * n), rows * blocks, [&](std::int64_t item) {
    const std::int64_t row = item / blocks, begin = item % blocks * block;
    std::int64_t at_a = begin * g.stride_a[inner], at_b = begin * g.stride_b[inner], rest = row;
    for (int axis = inner - 1; axis >= 0; rest /= g.extent[axis--]) {
      at_a += rest % g.extent[axis] * g.stride_a[axis];
      at_b += rest % g.extent[axis] * g.stride_b[axis];
    }
    binary_row<F>(a + at_a, g.stride_a[inner], b + at_b, g.stride_b[inner], y + row * n + begin,
                  smaller(block, n - begin));
  });
}

}  // namespace

void unary(const Call& call) {
  const auto& g = geometry<UnaryGeometry>(call);
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  pointwise::with_unary<Simd>(g.fn, g.alpha, g.beta, [&](auto f) {
    in_blocks(call, g.n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, f.value(lanes.load(x + i))); });
  });
}

void unary_grad(const Call& call) {
  const auto& g = geometry<UnaryGeometry>(call);
  const float *gy = input<float>(call, 0), *saved = input<float>(call, 1);
  float* gx = output<float>(call, 0);
  pointwise::with_unary<Simd>(g.fn, g.alpha, g.beta, [&](auto f) {
    in_blocks(call, g.n, [&](std::int64_t i, auto lanes) {
      lanes.store(gx + i, f.gradient(lanes.load(gy + i), lanes.load(saved + i)));
    });
  });
}

void binary(const Call& call) {
  const auto& g = geometry<BinaryGeometry>(call);
  pointwise::with_binary<Simd>(g.fn, [&](auto f) { binary_with<decltype(f)>(call, g); });
}

}  // namespace tenon::cpu::TENON_ISA
