// Work of a parallel region that moves to whoever is free. Two processors are seldom equally fast: another process, a
// neighbour on the same core or a lower clock make one of them late, for seconds or for a moment, and everybody waits.
// Each thread takes its own items from the front; one that has none left takes the last ones of whoever has most left. So
// a thread meets the same data again and again where all are equally fast, and a slow one gives some away. Threads own
// what they write, so that it changes no bit who does an item.
#pragma once
#include <cstdint>

#include "kernels/cpu/micro/micro.hpp"
#include "kernels/cpu/micro/simd.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

struct Range {
  std::int64_t begin, end;
  TENON_MEMBER std::int64_t size() const { return end - begin; }
  TENON_MEMBER bool operator==(const Range& b) const { return begin == b.begin && end == b.end; }
};
/// Part `i` of `parts` of [0, items).
TENON_INLINE Range part(std::int64_t items, std::int64_t i, std::int64_t parts) {
  return {items * i / parts, items * (i + 1) / parts};
}

/// Items [0, n) of a team of threads, made before the region; threads that did not come are helped out by the others.
class Shares {
 public:
  /// Items in pieces of `each`. Beyond `most` threads, several have one share.
  Shares(std::int64_t threads, std::int64_t items, std::int64_t each = 1)
      : count_(threads < most ? threads : most), each_(each), items_(items) {
    const std::int64_t pieces = (items + each - 1) / each;
    for (std::int64_t i = 0; i < count_; ++i) {
      const Range mine = part(pieces, i, count_);
      shares_[i].left = both(mine.begin, mine.end);
    }
  }
  /// The next items of a thread; false when there are none.
  bool take(std::int64_t thread, Range& items) {
    std::int64_t piece = take_from(shares_[thread % count_], true);
    while (piece < 0) {
      Share* richest = nullptr;
      std::int64_t most_left = 0;
      for (std::int64_t i = 0; i < count_; ++i) {
        const std::int64_t left = size(__atomic_load_n(&shares_[i].left, __ATOMIC_RELAXED));
        if (left > most_left) {
          most_left = left;
          richest = &shares_[i];
        }
      }
      if (richest == nullptr) return false;
      piece = take_from(*richest, false);
    }
    items = {piece * each_, (piece + 1) * each_ < items_ ? (piece + 1) * each_ : items_};
    return true;
  }

 private:
  static constexpr std::int64_t most = 64;
  /// Pieces [begin, end) in one word, so that front and back move in one exchange.
  struct alignas(64) Share {
    std::uint64_t left;
  };
  static std::uint64_t both(std::int64_t begin, std::int64_t end) {
    return static_cast<std::uint64_t>(begin) << 32 | static_cast<std::uint64_t>(end);
  }
  static std::int64_t begin(std::uint64_t left) { return static_cast<std::int64_t>(left >> 32); }
  static std::int64_t end(std::uint64_t left) { return static_cast<std::int64_t>(left & 0xFFFFFFFFu); }
  static std::int64_t size(std::uint64_t left) { return end(left) - begin(left); }
  /// One piece from the front or the back; -1 where none is left.
  static std::int64_t take_from(Share& share, bool front) {
    std::uint64_t left = __atomic_load_n(&share.left, __ATOMIC_RELAXED);
    while (size(left) > 0) {
      const std::uint64_t rest = front ? both(begin(left) + 1, end(left)) : both(begin(left), end(left) - 1);
      if (__atomic_compare_exchange_n(&share.left, &left, rest, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return front ? begin(left) : end(left) - 1;
    }
    return -1;
  }

  Share shares_[most];
  std::int64_t count_, each_, items_;
};

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
