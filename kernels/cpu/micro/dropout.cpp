// dropout        x -> y = x / (1 - rate) where kept, else 0; mask u8, 1: kept
// dropout_grad   gy, mask -> gx = gy / (1 - rate) where kept, else 0
// Kept iff the element's draw >= rate * 2^16 (kernels/common/philox.hpp). A dropped element is dead: even a NaN
// there becomes 0. Threads own blocks of elements; a block's draws depend on its place alone.
#include "kernels/cpu/micro/philox.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr std::int64_t block = 4096;  // elements; a multiple of `draws_together`

TENON_INLINE Vf scaled_where(Vi kept, Vf x, float scale) { return Simd::select(kept, x * scale, Simd::set(0.f)); }

TENON_INLINE void drop_lanes(const float* x, float* y, std::uint8_t* mask, Vu draw, std::uint32_t threshold,
                             float scale, std::int64_t count) {
  const Vi kept = (Vi)(draw >= threshold);
  if (count >= width) {
    Simd::store(y, scaled_where(kept, Simd::load(x), scale));
    store_bytes(mask, narrow(kept & 1), width);
  } else {
    Simd::store_n(y, scaled_where(kept, Simd::load_n(x, count), scale), count);
    store_bytes(mask, narrow(kept & 1), count);
  }
}

/// Elements [begin, end) of one block.
void drop_block(const Call& call, const DropoutGeometry& g, std::int64_t begin, std::int64_t end) noexcept {
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  std::uint8_t* mask = output<std::uint8_t>(call, 1);
  const Control& control = *call.control;
  const philox::Key key = philox::key(control.seed, philox::Purpose::dropout);
  const auto site = static_cast<std::uint32_t>(g.site), step = control.step, epoch = control.epoch;
  const std::uint32_t threshold = philox::dropout_threshold(g.rate);
  const float scale = philox::dropout_scale(g.rate);
  for (std::int64_t i = begin; i < end; i += draws_together) {
    Vu draws[8];
    philox_draws(key, philox::draw_block(i), site, step, epoch, draws);
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) {
      const std::int64_t at = i + v * width;
      if (at < end) drop_lanes(x + at, y + at, mask + at, draws[v], threshold, scale, end - at);
    }
  }
}

void pass_block(const Call& call, const DropoutGeometry& g, std::int64_t begin, std::int64_t end) noexcept {
  const float* gy = input<float>(call, 0);
  const std::uint8_t* mask = input<std::uint8_t>(call, 1);
  float* gx = output<float>(call, 0);
  const float scale = philox::dropout_scale(g.rate);
  for_each_lanes(end - begin, [&](std::int64_t i, auto lanes) {
    const Vi kept = widen(load_bytes(mask + begin + i, end - begin - i)) != 0;
    lanes.store(gx + begin + i, scaled_where(kept, lanes.load(gy + begin + i), scale));
  });
}

template <class Body>
TENON_INLINE void in_blocks(const Call& call, const Body& body) {
  const auto& g = geometry<DropoutGeometry>(call);
  parallel_for(threads_for(call, g.n), blocks_of(g.n, block),
               [&](std::int64_t b) { body(call, g, b * block, smaller(g.n, (b + 1) * block)); });
}

}  // namespace

void dropout(const Call& call) { in_blocks(call, drop_block); }
void dropout_grad(const Call& call) { in_blocks(call, pass_block); }

}  // namespace tenon::cpu::TENON_ISA
