// Which pieces of a recording wait for which (lib/runtime/recording_order.hpp).
#include "lib/runtime/recording_order.hpp"

#include <array>

#include "tests/support/catch.hpp"

namespace tenon {
namespace {

using Waits = std::vector<std::int32_t>;

const std::array<std::byte, 100> memory{};

Access reads(int from, int to) { return {memory.data() + from, memory.data() + to, AccessKind::read}; }
Access writes(int from, int to) { return {memory.data() + from, memory.data() + to, AccessKind::write}; }
Access marks(int from, int to) { return {memory.data() + from, memory.data() + to, AccessKind::mark}; }

}  // namespace

TEST_CASE("pieces wait for those that write what they touch, and touch what they write", "[recording]") {
  RecordingOrder order;
  CHECK(order.add({writes(0, 10)}).empty());
  CHECK(order.add({writes(10, 20)}).empty());  // beside it
  CHECK(order.add({reads(5, 15), writes(20, 30)}) == Waits{1, 0});
  CHECK(order.add({reads(0, 10), writes(30, 40)}) == Waits{0});  // reads what the last one reads
  CHECK(order.add({writes(9, 10)}) == Waits{3, 2});              // and 0, for which both waited
  CHECK(order.add({reads(20, 21), reads(30, 31)}) == Waits{3, 2});
  CHECK(order.add({}).empty());
}

TEST_CASE("a piece waits for all that came before what it waits for", "[recording]") {
  RecordingOrder order;
  CHECK(order.add({writes(0, 1)}).empty());
  CHECK(order.add({reads(0, 1), writes(1, 2)}) == Waits{0});
  CHECK(order.add({reads(1, 2), writes(2, 3)}) == Waits{1});
  CHECK(order.add({reads(0, 1), reads(2, 3)}) == Waits{2});
}

TEST_CASE("marks wait for reads and writes, not for one another", "[recording]") {
  RecordingOrder order;
  CHECK(order.add({marks(0, 4)}).empty());
  CHECK(order.add({marks(0, 4)}).empty());
  CHECK(order.add({reads(0, 4)}) == Waits{1, 0});
  CHECK(order.add({reads(0, 4)}) == Waits{1, 0});
  CHECK(order.add({marks(3, 5)}) == Waits{3, 2});
  CHECK(order.add({writes(0, 1)}) == Waits{3, 2});  // not for the last mark, which is elsewhere
}

}  // namespace tenon
