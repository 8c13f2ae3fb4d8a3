// Greedy placement by size: within a few percent of optimal for chains, and simple enough to check by brute force.
#include "lib/runtime/memory.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace tenon {

std::int64_t place_buffers(std::span<Buffer> buffers) {
  const auto rounded = [](std::int64_t bytes) {
    return (std::max<std::int64_t>(bytes, 1) + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
  };
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });

  std::int64_t total = 0;
  std::vector<const Buffer*> placed, alive;
  for (const std::size_t i : order) {
    Buffer& b = buffers[i];
    alive.clear();
    for (const Buffer* p : placed)
      if (p->first <= b.last && b.first <= p->last) alive.push_back(p);
    std::sort(alive.begin(), alive.end(), [](const Buffer* x, const Buffer* y) { return x->offset < y->offset; });
    std::int64_t offset = 0;
    for (const Buffer* p : alive) {
      if (offset + rounded(b.bytes) <= p->offset) break;
      offset = std::max(offset, p->offset + rounded(p->bytes));
    }
    b.offset = offset;
    total = std::max(total, offset + rounded(b.bytes));
    placed.push_back(&b);
  }
  return total;
}

}  // namespace tenon
