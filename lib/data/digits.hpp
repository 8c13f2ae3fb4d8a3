// Procedural digits: what the programs train on when there is no MNIST and no network. The seed decides every byte.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tenon {

struct DigitFiles {
  std::vector<std::byte> images, labels;  // IDX content: (count, 28, 28) and (count)
};

/// `count` digits. Image i depends on (seed, split, i) alone; `split` keeps training and held-out digits apart.
[[nodiscard]] DigitFiles draw_digits(std::int64_t count, std::uint64_t seed, std::uint32_t split);

}  // namespace tenon
