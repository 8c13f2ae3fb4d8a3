// How threads meet: barriers of the block, words of the warp, and what goes wrong there.
#include <algorithm>
#include <cstring>
#include <map>

#include "tests/cuda_emulation/engine.hpp"

namespace tenon::cuda::emulation {
namespace {

/// `Other` is what waits: a thread, a warp's meeting.
template <class Other>
bool same_place(const char* word, const Site& where, const Other& other) {
  return (other.word == word || std::strcmp(other.word, word) == 0) && other.where.line() == where.line() &&
         other.where.column() == where.column() &&
         (other.where.file_name() == where.file_name() || std::strcmp(other.where.file_name(), where.file_name()) == 0);
}

std::string place(const char* word, const Site& where) { return std::string(word) + " at " + text(where); }
std::string name(const Thread& t) { return "thread " + std::to_string(t.number); }
std::string hex(unsigned mask) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "0x%08x", mask);
  return digits;
}

}  // namespace

std::string text(const Site& where) {
  if (where.line() == 0) return "an unknown place";
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}
std::string text(const uint3& v) {
  return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
}

std::string thread_list(const std::vector<std::uint32_t>& numbers) {
  std::string s = numbers.size() == 1 ? "thread " : "threads ";
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (i > 0) s += ", ";
    s += std::to_string(numbers[i]);
    if (last > i) s += "-" + std::to_string(numbers[last]);
    i = last + 1;
  }
  return s;
}

void Engine::report_deadlock() {
  std::map<std::string, std::vector<std::uint32_t>> waiting;
  for (std::uint32_t i = 0; i < block_.threads; ++i)
    if (const Thread& t = threads_[i]; t.waiting != Waiting::no)
      waiting[place(t.word, t.where) + (t.waiting == Waiting::warp ? " with mask " + hex(t.mask) : "")].push_back(i);
  std::string what = "deadlock:";
  const char* separator = " ";
  for (const auto& [where, numbers] : waiting) {
    what += separator + thread_list(numbers) + (numbers.size() == 1 ? " waits in " : " wait in ") + where;
    separator = "; ";
  }
  abandon(what);
}

int Engine::meet_block(const char* word, bool predicate, const Site& where) {
  Thread& t = *running;
  if (block_.done != 0) {
    std::vector<std::uint32_t> gone;
    for (std::uint32_t i = 0; i < block_.threads; ++i)
      if (warps_[i / lanes].done >> i % lanes & 1) gone.push_back(i);
    abandon(name(t) + " came to " + place(word, where) + ", which " + thread_list(gone) + " left out by returning");
  }
  if (block_.arrived == 0)
    barrier_ = &t;
  else if (!same_place(word, where, *barrier_))
    abandon("barriers disagree: " + name(*barrier_) + " waits in " + place(barrier_->word, barrier_->where) + ", " +
            name(t) + " came to " + place(word, where));
  votes_ += predicate ? 1 : 0;
  if (++block_.arrived < block_.threads) {
    wait(Waiting::block, word, 0, where, nullptr);
    return votes_before_;
  }
  block_.arrived = 0;
  votes_before_ = votes_;
  votes_ = 0;
  ++block_.epoch;
  for (std::uint32_t i = 0; i < block_.threads; ++i)
    if (i != t.number) {
      threads_[i].waiting = Waiting::turn;
      ready_.add(i);
    }
  const int result = votes_before_;
  yield();
  return result;
}

void Engine::check_mask(const char* word, unsigned mask, const Site& where) {
  const Thread& t = *running;
  const Warp& warp = warps_[t.warp];
  if ((mask >> t.lane & 1) != 0 && (mask & (~warp.exist | warp.done)) == 0) return;
  const auto complain = [&](const std::string& why) {
    abandon(name(t) + " called " + place(word, where) + " with mask " + hex(mask) + ", " + why);
  };
  if (!(mask >> t.lane & 1)) complain("which does not contain its lane " + std::to_string(t.lane));
  if (const unsigned absent = mask & ~warp.exist; absent != 0)
    complain("whose lane " + std::to_string(__builtin_ctz(absent)) + " is no thread of the block");
  if (const unsigned gone = mask & warp.done; gone != 0)
    complain("whose lane " + std::to_string(__builtin_ctz(gone)) + " (thread " +
             std::to_string(t.warp * lanes + static_cast<std::uint32_t>(__builtin_ctz(gone))) + ") has returned");
}

/// Every lane of the mask knows afterwards what each of them knew before.
void Engine::synchronise_warp(Warp& warp, unsigned mask) {
  const std::uint32_t now = ++warp.stamps;
  Thread* const first = &threads_[static_cast<std::size_t>(&warp - warps_.data()) * lanes];
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) first[__builtin_ctz(rest)].stamp = now;
  if (mask == warp.exist) {
    warp.last_full = now;
    return;
  }
  if (!warp.partial) std::memset(warp.clock, 0, sizeof warp.clock);
  warp.partial = true;
  std::uint32_t joined[lanes] = {};
  for (unsigned rest = mask; rest != 0; rest &= rest - 1)
    for (std::uint32_t l = 0; l < lanes; ++l) joined[l] = std::max(joined[l], warp.clock[__builtin_ctz(rest)][l]);
  for (std::uint32_t l = 0; l < lanes; ++l)
    if (mask >> l & 1) joined[l] = now;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1)
    std::memcpy(warp.clock[__builtin_ctz(rest)], joined, sizeof joined);
}

/// The lanes of the mask that are where the running thread is, it included. It is an error if one waits for it
/// elsewhere, because then it will never come here.
unsigned Engine::lanes_here(const char* word, unsigned mask, const Site& where) {
  const Thread& t = *running;
  const Thread* const first = &threads_[std::size_t{t.warp} * lanes];
  unsigned here = 1u << t.lane;
  for (unsigned rest = mask & ~here; rest != 0; rest &= rest - 1) {
    const Thread& other = first[__builtin_ctz(rest)];
    if (other.waiting != Waiting::warp || !(other.mask >> t.lane & 1)) continue;
    if (other.mask != mask)
      abandon("masks disagree: " + name(other) + " waits in " + place(other.word, other.where) + " with mask " +
              hex(other.mask) + ", " + name(t) + " came to " + place(word, where) + " with mask " + hex(mask));
    if (!same_place(word, where, other))
      abandon("words of the warp disagree: " + name(other) + " waits in " + place(other.word, other.where) + ", " +
              name(t) + " came to " + place(word, where));
    here |= 1u << other.lane;
  }
  return here;
}

void Engine::meet_warp(const char* word, unsigned mask, const Site& where, void* argument, Complete complete,
                       bool orders_memory) {
  check_mask(word, mask, where);
  Thread& t = *running;
  Thread* const first = &threads_[std::size_t{t.warp} * lanes];
  Warp& warp = warps_[t.warp];
  const bool joins = warp.arrived != 0 && warp.mask == mask && same_place(word, where, warp);
  const unsigned here = joins ? warp.arrived | 1u << t.lane : lanes_here(word, mask, where);
  if (joins || warp.arrived == 0) {
    warp.arrived = here == mask ? 0 : here;
    warp.mask = mask;
    warp.word = word;
    warp.where = where;
  }
  if (here != mask) {
    ++warp.waiting;
    return wait(Waiting::warp, word, mask, where, argument);
  }
  if (complete != nullptr) {
    void* arguments[lanes] = {};
    for (unsigned rest = mask; rest != 0; rest &= rest - 1)
      arguments[__builtin_ctz(rest)] = first[__builtin_ctz(rest)].argument;
    arguments[t.lane] = argument;
    complete(arguments, mask);
  }
  if (orders_memory) synchronise_warp(warp, mask);
  for (unsigned rest = mask & ~(1u << t.lane); rest != 0; rest &= rest - 1) {
    Thread& other = first[__builtin_ctz(rest)];
    --warp.waiting;
    other.waiting = Waiting::turn;
    ready_.add(other.number);
  }
  yield();
}

int meet_block(const char* word, bool predicate, const Site& where) {
  if (running == nullptr) fail(std::string(word) + " outside a kernel");
  return running_engine->meet_block(word, predicate, where);
}
void meet_warp(const char* word, unsigned mask, const Site& where, void* argument, Complete complete,
               bool orders_memory) {
  if (running == nullptr) fail(std::string(word) + " outside a kernel");
  running_engine->meet_warp(word, mask, where, argument, complete, orders_memory);
}

}  // namespace tenon::cuda::emulation
