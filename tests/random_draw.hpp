// What the draws of a random case share: what was asked for, and random extents, near the edges that a kernel declares
// or log-uniform.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

#include "tenon/kernel.hpp"

namespace tenon::tests {

/// Fixes what a draw of one operation shares: whether it sums many chunks, and whether it is in integers.
struct Wish {
  bool many = false, integers = false;
};

class Draw {
 public:
  Draw(std::mt19937_64& rng, const Edges& edges) : rng_(rng) {
    for (const std::int32_t e : edges.sizes)
      if (e > 1) edges_.push_back(e);
    aims_ = !edges_.empty() && chance(0.85);
  }

  [[nodiscard]] bool chance(double p) { return std::uniform_real_distribution<double>()(rng_) < p; }
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(rng_);
  }
  [[nodiscard]] std::int32_t small(int low, int high) { return static_cast<std::int32_t>(between(low, high)); }
  template <class T>
  [[nodiscard]] T of(std::initializer_list<T> list) {
    return list.begin()[between(0, static_cast<std::int64_t>(list.size()) - 1)];
  }
  /// An extent in [1, most]: near an edge where the case aims at one, else log-uniform.
  [[nodiscard]] std::int64_t extent(std::int64_t most) {
    if (aims_ && chance(0.6)) {
      std::vector<std::int64_t> fitting;
      for (const std::int64_t e : edges_)
        if (e <= most) fitting.push_back(e);
      if (!fitting.empty()) {
        const std::int64_t e =
            fitting[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(fitting.size()) - 1))];
        return std::max<std::int64_t>(1, e + between(-1, 1));
      }
    }
    const double x = std::uniform_real_distribution<double>(0, std::log(static_cast<double>(most) + 1))(rng_);
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::exp(x)), 1, most);
  }
  /// Terms for more than two chunks of `chunk`.
  [[nodiscard]] std::int64_t beyond(std::int64_t chunk) { return 2 * chunk + between(1, chunk + chunk / 2); }

  /// An array of `elements` at most.
  [[nodiscard]] Shape shape(int least_rank, int most_rank, std::int64_t elements) {
    const int rank = small(least_rank, most_rank);
    Shape s;
    std::int64_t left = elements;
    for (int i = 0; i < rank; ++i) {
      const std::int64_t e = extent(std::max<std::int64_t>(1, left));
      s.push_back(e);
      left = std::max<std::int64_t>(1, left / e);
    }
    // The large extent is not always the first.
    std::vector<std::int64_t> e(s.extents().begin(), s.extents().end());
    std::shuffle(e.begin(), e.end(), rng_);
    return Shape(e);
  }

  /// extent(elements) elements, split into axes: for operations that do not see the axes.
  [[nodiscard]] Shape flat_shape(int most_rank, std::int64_t elements) {
    std::int64_t left = extent(elements);
    std::vector<std::int64_t> axes;
    for (int rank = small(1, most_rank); rank > 1; --rank) {
      const std::int64_t divisor = of<std::int64_t>({1, 2, 3, 4, 5, 7});
      axes.push_back(left % divisor == 0 ? divisor : 1);
      left /= axes.back();
    }
    axes.insert(axes.begin() + between(0, static_cast<std::int64_t>(axes.size())), left);
    return Shape(axes);
  }

  [[nodiscard]] bool aims() const { return aims_; }

 private:
  std::mt19937_64& rng_;
  std::vector<std::int64_t> edges_;
  bool aims_ = false;
};

}  // namespace tenon::tests
