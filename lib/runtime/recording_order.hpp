// Which pieces of a recording wait for which. The steps of a plan stand in an order in which they may run one after the other;
// what a device records of them may run side by side wherever neither writes what the other touches. A piece is known by the
// ranges of the device's memory that it reads, writes or marks: operands, workspaces, and fields of the control block. Memory that
// the plan gives to several values in turn orders its users by itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tenon {

/// Marks are bits set by atomic operations: like reads, they do not disturb one another.
enum class AccessKind : std::uint8_t { read, write, mark };

struct Access {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  AccessKind kind = AccessKind::read;
};
[[nodiscard]] inline Access access_to(const void* begin, std::int64_t bytes, AccessKind kind) {
  const auto* p = static_cast<const std::byte*>(begin);
  return {p, p + bytes, kind};
}

class RecordingOrder {
 public:
  /// The pieces before this one that it has to wait for, by number from 0 on in the order of the calls; those that others of them
  /// wait for already are left out.
  [[nodiscard]] const std::vector<std::int32_t>& add(const std::vector<Access>&);

 private:
  struct Piece {
    std::vector<Access> accesses;
    std::vector<bool> before;  // the pieces that are done when this one begins
  };
  std::vector<Piece> pieces_;
  std::vector<std::int32_t> after_;
};

}  // namespace tenon
