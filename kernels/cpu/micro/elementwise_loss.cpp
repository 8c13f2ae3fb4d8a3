// sigmoid_crossentropy, _grad   logits, target -> loss; gy, logits, target -> gradient of the logits
// binary_crossentropy, _grad    probabilities, target -> loss; gy, probabilities, target -> gradient of those
// Element by element, formulas in kernels/common/elementwise_loss.hpp. Threads own blocks of elements.
#include "kernels/common/elementwise_loss.hpp"
#include "kernels/cpu/micro/team.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t block = 4096;

template <class Body>
TENON_INLINE void in_blocks(const Call& call, const Body& body) {
  const std::int64_t n = geometry<LossGeometry>(call).n;
  parallel_for(threads_for(call, n), blocks_of(n, block), [&](std::int64_t b) {
    const std::int64_t begin = b * block;
    for_each_lanes(smaller(block, n - begin), [&](std::int64_t i, auto lanes) { body(begin + i, lanes); });
  });
}

template <class Loss>
TENON_INLINE void value(const Call& call, Loss f) {
  const float *p = input<float>(call, 0), *t = input<float>(call, 1);
  float* loss = output<float>(call, 0);
  in_blocks(call,
            [&](std::int64_t i, auto lanes) { lanes.store(loss + i, f.value(lanes.load(p + i), lanes.load(t + i))); });
}

template <class Loss>
TENON_INLINE void gradient(const Call& call, Loss f) {
  const float *gy = input<float>(call, 0), *p = input<float>(call, 1), *t = input<float>(call, 2);
  float* gp = output<float>(call, 0);
  in_blocks(call, [&](std::int64_t i, auto lanes) {
    lanes.store(gp + i, f.gradient(lanes.load(gy + i), lanes.load(p + i), lanes.load(t + i)));
  });
}

TENON_INLINE pointwise::BinaryCrossEntropy<Simd> clipped_loss(const Call& call) {
  return {geometry<LossGeometry>(call).epsilon};
}

}  // namespace

void sigmoid_crossentropy(const Call& call) { value(call, pointwise::SigmoidCrossEntropy<Simd>{}); }
void sigmoid_crossentropy_grad(const Call& call) { gradient(call, pointwise::SigmoidCrossEntropy<Simd>{}); }
void binary_crossentropy(const Call& call) { value(call, clipped_loss(call)); }
void binary_crossentropy_grad(const Call& call) { gradient(call, clipped_loss(call)); }

}  // namespace tenon::cpu::TENON_ISA
