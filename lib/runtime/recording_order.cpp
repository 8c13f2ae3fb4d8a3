#include "lib/runtime/recording_order.hpp"

#include <algorithm>

namespace tenon {
namespace {

bool disturbs(const Access& a, const Access& b) {
  return a.begin < b.end && b.begin < a.end && (a.kind != b.kind || a.kind == AccessKind::write);
}
bool disturbs(const std::vector<Access>& one, const std::vector<Access>& other) {
  return std::ranges::any_of(one, [&](const Access& a) {
    return std::ranges::any_of(other, [&](const Access& b) { return disturbs(a, b); });
  });
}

}  // namespace

const std::vector<std::int32_t>& RecordingOrder::add(const std::vector<Access>& accesses) {
  Piece piece{accesses, std::vector<bool>(pieces_.size())};
  after_.clear();
  // From the last on, so that what a piece waited for need not be looked at.
  for (std::size_t i = pieces_.size(); i-- > 0;) {
    if (piece.before[i] || !disturbs(pieces_[i].accesses, accesses)) continue;
    after_.push_back(static_cast<std::int32_t>(i));
    piece.before[i] = true;
    for (std::size_t j = 0; j < i; ++j)
      if (pieces_[i].before[j]) piece.before[j] = true;
  }
  pieces_.push_back(std::move(piece));
  return after_;
}

}  // namespace tenon
