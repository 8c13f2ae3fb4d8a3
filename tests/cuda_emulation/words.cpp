// Shuffles, votes and the messages of the race check.
#include "tests/cuda_emulation/words.hpp"

#include <bit>

#include "tests/cuda_emulation/engine.hpp"

namespace tenon::cuda::emulation {

std::uint32_t shuffle_source(Shuffle kind, std::uint32_t lane, int operand, int width, unsigned mask, const char* word,
                             const Site& where) {
  const auto complain = [&](const std::string& why) {
    fail("thread " + std::to_string(running->number) + " called " + word + " at " + text(where) + why);
  };
  const auto w = static_cast<unsigned>(width);
  if (width < 1 || w > lanes || !std::has_single_bit(w)) complain(" with width " + std::to_string(width));
  const std::uint32_t first = lane & ~(w - 1), last = first + w - 1, by = static_cast<std::uint32_t>(operand) % lanes;
  std::uint32_t from = lane;
  switch (kind) {
    case Shuffle::index:
      from = first | (by & (w - 1));
      break;
    case Shuffle::up:
      from = lane >= first + by ? lane - by : lane;
      break;
    case Shuffle::down:
      from = lane + by <= last ? lane + by : lane;
      break;
    case Shuffle::exclusive:
      from = (lane ^ by) <= last ? lane ^ by : lane;
      break;
  }
  if (!(mask >> from & 1))
    complain(" and takes from lane " + std::to_string(from) + ", which the mask does not contain");
  return from;
}

unsigned vote(const char* word, unsigned mask, bool predicate, const Site& where) {
  struct Argument {
    bool predicate;
    unsigned result;
  } mine{predicate, 0};
  meet_warp(word, mask, where, &mine, [](void* const arguments[lanes], unsigned mask_) {
    unsigned votes = 0;
    for (unsigned rest = mask_; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::uint32_t>(__builtin_ctz(rest));
      if (static_cast<const Argument*>(arguments[lane])->predicate) votes |= 1u << lane;
    }
    for (unsigned rest = mask_; rest != 0; rest &= rest - 1)
      static_cast<Argument*>(arguments[__builtin_ctz(rest)])->result = votes;
  });
  return mine.result;
}

namespace {

constexpr const char* verbs[] = {"read", "wrote", "changed atomically", "copied to"};  // by Access

std::string position(const void* at, std::int64_t element) {
  const auto byte = static_cast<const unsigned char*>(at) - running_block->shared;
  return "byte " + std::to_string(byte) + " of shared memory" +
         (element >= 0 ? " (element " + std::to_string(element) + " of its array)" : "");
}

}  // namespace

void report_pending(Access access, const Thread& t, const void* at, std::int64_t element, Site where) {
  fail("thread " + std::to_string(t.number) + " " + verbs[static_cast<int>(access)] + " " + position(at, element) +
       " at " + text(where) + " while a cp.async to it is under way");
}

void report_race(const Slot& s, Access access, const Thread& t, std::uint32_t other, bool other_wrote, const void* at,
                 std::int64_t element, Site where) {
  const bool warp = other / lanes == t.warp;
  fail("race at " + position(at, element) + ": thread " + std::to_string(other) + " " +
       (other_wrote ? s.atomic ? verbs[2] : verbs[1] : verbs[0]) + " it at " +
       text(other_wrote ? s.write_where : s.read_where) + ", thread " + std::to_string(t.number) + " " +
       verbs[static_cast<int>(access)] + " it at " + text(where) + ", with no barrier" +
       (warp ? " and no __syncwarp" : "") + " between");
}

void mark_pending(const void* at, std::size_t bytes, bool on) {
  const Block& b = *running_block;
  const auto offset = static_cast<std::size_t>(static_cast<const unsigned char*>(at) - b.shared);
  for (std::size_t i = offset; i < offset + bytes; ++i) b.slots[i % 4 * plane + i / 4].pending = on ? b.serial : 0;
}

void touch_bytes(Access access, const Thread& t, const void* at, std::size_t bytes, Site where) {
  const Block& b = *running_block;
  const auto offset = static_cast<std::size_t>(static_cast<const unsigned char*>(at) - b.shared);
  for (std::size_t i = offset; i < offset + bytes; ++i)
    touch_slot(b.slots[i % 4 * plane + i / 4], access, b, t, b.shared + i, -1, where);
}

void report_index(std::int64_t index, std::int64_t size, Site where) {
  fail("thread " + std::to_string(running != nullptr ? running->number : 0) + " went to element " +
       std::to_string(index) + " of an array of " + std::to_string(size) + " in shared memory, at " + text(where));
}

}  // namespace tenon::cuda::emulation
