// See order_of_threads.hpp. Random choices come from SplitMix64, so that a seed means the same everywhere.
#include "tests/cuda_emulation/order_of_threads.hpp"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <utility>

namespace tenon::cuda::emulation {
namespace {

std::uint64_t mixed(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

ScheduleChoice parsed(std::string_view name) {
  using enum Schedule;
  if (name == "forward") return {forward, 0};
  if (name == "reverse") return {reverse, 0};
  if (name == "interleaved") return {warps_interleaved, 0};
  if (constexpr std::string_view prefix = "random:"; name.starts_with(prefix)) {
    std::uint64_t seed = 0;
    const char* end = name.data() + name.size();
    const auto result = std::from_chars(name.data() + prefix.size(), end, seed);
    if (result.ec == std::errc() && result.ptr == end) return {random, seed};
  }
  throw EmulationError("schedule '" + std::string(name) + "': expected forward, reverse, interleaved or random:SEED");
}

struct Settings {
  std::mutex mutex;
  ScheduleChoice choice;
  std::uint64_t launches = 0;
  Settings()
      : choice(parsed(std::getenv("TENON_CUDA_SCHEDULE") != nullptr ? std::getenv("TENON_CUDA_SCHEDULE") : "forward")) {
  }
};
Settings& settings() {
  static Settings s;
  return s;
}

}  // namespace

void set_schedule(Schedule schedule, std::uint64_t seed) {
  const std::lock_guard lock(settings().mutex);
  settings().choice = {schedule, seed};
  settings().launches = 0;
}
void set_schedule(std::string_view name) {
  const ScheduleChoice c = parsed(name);
  set_schedule(c.schedule, c.seed);
}
std::string schedule_text() {
  const std::lock_guard lock(settings().mutex);
  switch (settings().choice.schedule) {
    case Schedule::forward:
      return "forward";
    case Schedule::reverse:
      return "reverse";
    case Schedule::warps_interleaved:
      return "interleaved";
    case Schedule::random:
      break;
  }
  return "random:" + std::to_string(settings().choice.seed);
}

ScheduleChoice next_schedule() {
  const std::lock_guard lock(settings().mutex);
  return {settings().choice.schedule, mixed(settings().choice.seed ^ mixed(settings().launches++))};
}

void ReadyThreads::begin(ScheduleChoice choice, std::uint32_t threads, std::uint64_t block) {
  if (threads_ != threads || ranked_for_ != choice.schedule || choice.schedule == Schedule::random) {
    std::iota(thread_.begin(), thread_.begin() + threads, std::uint16_t{0});
    if (choice.schedule == Schedule::reverse) {
      for (std::uint32_t i = 0; i < threads; ++i) thread_[i] = static_cast<std::uint16_t>(threads - 1 - i);
    } else if (choice.schedule == Schedule::warps_interleaved) {
      std::uint32_t rank = 0;
      for (std::uint32_t lane = 0; lane < lanes; ++lane)
        for (std::uint32_t t = lane; t < threads; t += lanes) thread_[rank++] = static_cast<std::uint16_t>(t);
    } else if (choice.schedule == Schedule::random) {
      state_ = mixed(choice.seed ^ mixed(block));
      for (std::uint32_t i = threads; i > 1; --i) std::swap(thread_[i - 1], thread_[random() % i]);
    }
    for (std::uint32_t i = 0; i < threads; ++i) rank_[thread_[i]] = static_cast<std::uint16_t>(i);
  }
  choice_ = choice;
  ranked_for_ = choice.schedule;
  threads_ = threads;
  words_ = (threads + 63) / 64;
  for (std::uint32_t w = 0; w < words_; ++w) {
    const std::uint32_t in_word = std::min(threads - w * 64, 64u);
    bits_[w] = in_word == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << in_word) - 1;
  }
}

std::uint64_t ReadyThreads::random() { return mixed(state_++); }

std::uint32_t ReadyThreads::take(std::uint32_t word, std::uint64_t among) {
  const auto bit = static_cast<std::uint32_t>(std::countr_zero(among));
  bits_[word] &= ~(std::uint64_t{1} << bit);
  return thread_[word * 64 + bit];
}

std::uint32_t ReadyThreads::next() {
  std::uint32_t first = 0;
  if (choice_.schedule == Schedule::random) {  // the next one behind a random rank
    const std::uint64_t r = random() % (words_ * 64);
    first = static_cast<std::uint32_t>(r / 64);
    if (const std::uint64_t behind = bits_[first] >> r % 64 << r % 64; behind != 0) return take(first, behind);
    ++first;
  }
  for (std::uint32_t i = 0; i < words_; ++i) {
    const std::uint32_t w = first + i < words_ ? first + i : first + i - words_;
    if (bits_[w] != 0) return take(w, bits_[w]);
  }
  return nobody;
}

std::uint64_t block_at(ScheduleChoice choice, std::uint64_t i, std::uint64_t n) {
  switch (choice.schedule) {
    case Schedule::forward:
      return i;
    case Schedule::reverse:
      return n - 1 - i;
    case Schedule::warps_interleaved:
      return i < (n + 1) / 2 ? 2 * i : 2 * (i - (n + 1) / 2) + 1;
    case Schedule::random:
      break;
  }
  // i -> a i + b mod n is a permutation where a and n have no common divisor.
  std::uint64_t a = mixed(choice.seed) % n;
  while (std::gcd(a, n) != 1) a = (a + 1) % n;
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(a) * i + mixed(choice.seed + 1) % n) % n);
}

}  // namespace tenon::cuda::emulation
