// Sums in the canonical order: chunk sums of `width` neighbouring outputs, joined by the pair tree of
// kernels/common/order.hpp in scratch memory that the caller owns.
#pragma once
#include <algorithm>

#include "kernels/reference/support.hpp"

namespace tenon::reference {

template <class T>
class PairTree {
 public:
  PairTree(T* scratch, std::int64_t width) : scratch_(scratch), width_(width) {}

  /// Zeros for the sums of the next chunk.
  T* open() {
    T* top = scratch_ + height_ * width_;
    std::fill(top, top + width_, T{0});
    return top;
  }
  /// The chunk opened last is complete.
  void close() { height_ = order::tree_push(chunk_++, height_, join()); }
  /// The sums over all chunks; at least one was closed.
  T* sum() {
    order::tree_finish(height_, join());
    height_ = 1;
    return scratch_;
  }

 private:
  auto join() {
    return [this](int below, int top) {
      T* a = scratch_ + below * width_;
      const T* b = scratch_ + top * width_;
      for (std::int64_t j = 0; j < width_; ++j) a[j] += b[j];
    };
  }

  T* scratch_;
  std::int64_t width_, chunk_ = 0;
  int height_ = 0;
};

/// Elements that a tree over `terms` in chunks of `chunk` takes. The chunks of float are the shorter ones, so this
/// holds for double as well.
inline std::int64_t tree_scratch(std::int64_t terms, std::int64_t chunk, std::int64_t width) {
  return order::tree_depth(chunk_count(terms, chunk)) * width;
}

}  // namespace tenon::reference
