// Shares: every item once, whoever comes and however late; each thread its own items first, and the last ones of the slow.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <numeric>
#include <thread>
#include <vector>

// An instruction set of its own: the header is compiled once for each.
#define TENON_ISA shares_test
#include "kernels/cpu/micro/shares.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cpu::shares_test {
namespace {

constexpr std::int64_t beyond_most = 100;  // threads, of which some have one share together

/// How often each item was taken; the threads of a test count here, and the test checks when all are done.
class Taken {
 public:
  explicit Taken(std::int64_t items) : times_(static_cast<std::size_t>(items)) {}
  void count(const Range& items) {
    if (items.begin < 0 || items.end <= items.begin || items.end > static_cast<std::int64_t>(times_.size()))
      ++outside_;
    else
      for (std::int64_t i = items.begin; i < items.end; ++i) ++times_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] bool each_once() const {
    return outside_ == 0 && std::ranges::all_of(times_, [](const std::atomic<int>& n) { return n == 1; });
  }

 private:
  std::vector<std::atomic<int>> times_;
  std::atomic<int> outside_ = 0;
};

/// All that a thread still gets, as the first item of each piece.
std::vector<std::int64_t> rest(Shares& shares, std::int64_t thread) {
  std::vector<std::int64_t> begins;
  for (Range some{}; shares.take(thread, some);) begins.push_back(some.begin);
  return begins;
}
std::vector<std::int64_t> take(Shares& shares, std::int64_t thread, int pieces) {
  std::vector<std::int64_t> begins;
  Range some{};
  for (int i = 0; i < pieces && shares.take(thread, some); ++i) begins.push_back(some.begin);
  return begins;
}
std::vector<std::int64_t> ascending(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> list(static_cast<std::size_t>(end - begin));
  std::iota(list.begin(), list.end(), begin);
  return list;
}
std::vector<std::int64_t> descending(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> list = ascending(begin, end);
  std::ranges::reverse(list);
  return list;
}

constexpr std::int64_t item_counts[] = {0, 1, 2, 13, 97, 1000}, piece_sizes[] = {1, 3, 16, 5000};

}  // namespace

TEST_CASE("a team takes every item once", "[shares]") {
  for (const std::int64_t items : item_counts)
    for (const std::int64_t each : piece_sizes)
      for (int threads = 1; threads <= 8; ++threads) {
        INFO(items << " items in pieces of " << each << ", " << threads << " threads");
        Shares shares(threads, items, each);
        Taken taken(items);
#pragma omp parallel num_threads(threads)
        for (Range some{}; shares.take(omp_get_thread_num(), some);) taken.count(some);
        CHECK(taken.each_once());
      }
}

TEST_CASE("threads that take at the same time never get the same item", "[shares]") {
  constexpr std::int64_t items = 200000;
  for (const std::int64_t threads : {std::int64_t{2}, std::int64_t{3}, std::int64_t{8}, beyond_most}) {
    INFO(threads << " threads");
    Shares shares(threads, items);
    Taken taken(items);
    std::latch begin(threads);
    {
      std::vector<std::jthread> team;
      for (std::int64_t t = 0; t < threads; ++t)
        team.emplace_back([&, t] {
          begin.arrive_and_wait();
          for (Range some{}; shares.take(t, some);) taken.count(some);
        });
    }
    CHECK(taken.each_once());
  }
}

TEST_CASE("a team of fewer threads than were announced does all", "[shares]") {
  for (const std::int64_t items : item_counts)
    for (const std::int64_t announced : {std::int64_t{2}, std::int64_t{8}, beyond_most})
      for (const std::int64_t alone : {std::int64_t{0}, announced - 1}) {
        INFO(items << " items, " << announced << " threads announced, " << alone << " came");
        Shares shares(announced, items, 3);
        Taken taken(items);
        for (Range some{}; shares.take(alone, some);) taken.count(some);
        CHECK(taken.each_once());
      }
}

TEST_CASE("a thread alone takes its items in ascending order, the last piece as short as it is", "[shares]") {
  Shares shares(1, 10, 4);
  Range some{};
  for (const Range& expected : {Range{0, 4}, Range{4, 8}, Range{8, 10}}) {
    REQUIRE(shares.take(0, some));
    CHECK(some == expected);
  }
  CHECK_FALSE(shares.take(0, some));
  CHECK_FALSE(shares.take(0, some));
}

TEST_CASE("each thread begins with its own part, from its first item to its last", "[shares]") {
  constexpr std::int64_t threads = 4, pieces = 23, each = 2;
  for (std::int64_t t = 0; t < threads; ++t) {
    Shares shares(threads, pieces * each, each);
    const Range own = part(pieces, t, threads);
    REQUIRE(own.size() > 1);
    for (std::int64_t i = own.begin; i < own.end; ++i) {
      Range some{};
      REQUIRE(shares.take(t, some));
      CHECK(some == Range{i * each, (i + 1) * each});
    }
  }
}

TEST_CASE("who has nothing left takes the last items of whoever has most", "[shares]") {
  Shares shares(3, 30);  // ten each
  CHECK(take(shares, 0, 7) == ascending(0, 7));
  CHECK(take(shares, 2, 10) == ascending(20, 30));
  CHECK(take(shares, 2, 7) == descending(13, 20));  // thread 1 has ten, thread 0 three
  // Three each now: by turns.
  CHECK(take(shares, 2, 2) == std::vector<std::int64_t>{9, 12});
  CHECK(take(shares, 0, 2) == ascending(7, 9));
  CHECK(take(shares, 1, 2) == ascending(10, 12));
  CHECK(rest(shares, 0).empty());
}

TEST_CASE("the others do what a thread that sleeps has not begun", "[shares]") {
  constexpr std::int64_t threads = 3, items = 60;
  Shares shares(threads, items);
  Taken taken(items);
  std::latch asleep(1);
  std::latch done(threads - 1);
  std::vector<std::int64_t> first, later, helped;
  {
    std::vector<std::jthread> team;
    team.emplace_back([&] {
      first = take(shares, 0, 4);
      asleep.count_down();
      done.wait();
      later = rest(shares, 0);
    });
    for (std::int64_t t = 1; t < threads; ++t)
      team.emplace_back([&, t] {
        asleep.wait();
        for (Range some{}; shares.take(t, some);) taken.count(some);
        done.count_down();
      });
  }
  CHECK(first == ascending(0, 4));
  CHECK(later.empty());
  for (const std::int64_t i : first) taken.count({i, i + 1});
  CHECK(taken.each_once());
}

TEST_CASE("a slow thread keeps its first items", "[shares]") {
  Shares shares(2, 40);
  CHECK(take(shares, 0, 2) == ascending(0, 2));
  CHECK(take(shares, 1, 20) == ascending(20, 40));
  CHECK(take(shares, 1, 5) == descending(15, 20));
  CHECK(take(shares, 0, 3) == ascending(2, 5));
  CHECK(take(shares, 1, 4) == descending(11, 15));
  CHECK(rest(shares, 0) == ascending(5, 11));
  CHECK(rest(shares, 1).empty());
}

TEST_CASE("a slow thread does less than a fast one", "[shares]") {
  constexpr std::int64_t items = 64;
  Shares shares(2, items);
  std::int64_t of[2] = {};
  {
    std::vector<std::jthread> team;
    for (int t = 0; t < 2; ++t)
      team.emplace_back([&, t] {
        for (Range some{}; shares.take(t, some); ++of[t])
          if (t == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      });
  }
  CHECK(of[0] + of[1] == items);
  CHECK(of[0] < items / 2);
}

}  // namespace tenon::cpu::shares_test
