// The race check of shared memory. A slot for every four bytes (for smaller elements: for every byte) remembers who
// wrote and who read last, when and where. Two accesses of different threads, one of them a plain write, must have a
// barrier between them, or, in one warp, a __syncwarp of both. Slots are valid in the epoch that they name, so that
// nobody has to clear them.
#pragma once
#include "tests/cuda_emulation/state.hpp"

namespace tenon::cuda::emulation {

enum class Access : std::uint8_t { read, write, atomic, copy };  // copy: a cp.async

struct Slot {
  Site write_where, read_where;
  std::uint32_t write_epoch, write_stamp;
  std::uint32_t read_epoch, read_stamp;
  std::uint32_t read_lanes;  // that read since they were last in step, of the warp that read first
  std::uint16_t writer, read_warp;
  std::uint16_t other_reader;  // 1 + number of a reader of another warp; 0: none
  std::uint8_t writers;        // with atomics: 0 one thread, 1 several of a warp, 2 of several warps
  bool atomic;
  std::uint32_t pending;  // serial number of the block that has a cp.async under way to here
};
inline constexpr std::size_t plane = max_shared / 4;  // slots of words, then those of the bytes 1, 2 and 3 of words

[[noreturn]] void report_race(const Slot&, Access, const Thread&, std::uint32_t other, bool other_wrote, const void* at,
                              std::int64_t element, Site);

[[noreturn]] void report_pending(Access, const Thread&, const void* at, std::int64_t element, Site);

/// Whether what the lane did at `stamp` is over for t.
inline bool in_step(const Warp& w, const Thread& t, std::uint32_t lane, std::uint32_t stamp) {
  return w.last_full > stamp || (w.partial && w.clock[t.lane][lane] > stamp);
}

inline void check_writer(const Slot& s, Access access, const Block& b, const Thread& t, const void* at,
                         std::int64_t element, Site where) {
  if (s.write_epoch != b.epoch || (s.writers == 0 && s.writer == t.number)) return;
  if (access == Access::atomic && s.atomic) return;
  const Warp& w = b.warp[t.warp];
  const bool ordered = s.writer / lanes == t.warp && s.writers < 2 &&
                       (s.writers == 0 ? in_step(w, t, s.writer % lanes, s.write_stamp) : w.last_full > s.write_stamp);
  if (!ordered) report_race(s, access, t, s.writer, true, at, element, where);
}

inline void check_readers(const Slot& s, Access access, const Block& b, const Thread& t, const void* at,
                          std::int64_t element, Site where) {
  if (s.read_epoch != b.epoch) return;
  const bool same = s.read_warp == t.warp;
  const std::uint32_t others = same ? s.read_lanes & ~(1u << t.lane) : s.read_lanes;
  for (std::uint32_t rest = others; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::uint32_t>(__builtin_ctz(rest));
    if (!same || !in_step(b.warp[t.warp], t, lane, s.read_stamp))
      report_race(s, access, t, s.read_warp * lanes + lane, false, at, element, where);
  }
  if (s.other_reader != 0 && same) report_race(s, access, t, s.other_reader - 1u, false, at, element, where);
}

inline void note_read(Slot& s, const Block& b, const Thread& t, Site where) {
  const std::uint32_t bit = 1u << t.lane;
  const bool fresh = s.read_epoch != b.epoch;
  if (fresh || (s.read_warp == t.warp && b.warp[t.warp].last_full > s.read_stamp)) {
    if (fresh) s.other_reader = 0;
    s.read_epoch = b.epoch;
    s.read_warp = static_cast<std::uint16_t>(t.warp);
    s.read_lanes = bit;
    s.read_stamp = t.stamp;
  } else if (s.read_warp == t.warp) {
    s.read_lanes |= bit;
    if (t.stamp > s.read_stamp) s.read_stamp = t.stamp;
  } else {
    s.other_reader = static_cast<std::uint16_t>(t.number + 1);
  }
  s.read_where = where;
}

inline void note_write(Slot& s, Access access, const Block& b, const Thread& t, Site where) {
  const bool atomic = access == Access::atomic;
  if (!atomic || s.write_epoch != b.epoch || !s.atomic)
    s.writers = 0;
  else if (s.writer != t.number)
    s.writers = s.writer / lanes == t.warp && s.writers < 2 ? 1 : 2;
  s.write_epoch = b.epoch;
  s.writer = static_cast<std::uint16_t>(t.number);
  s.write_stamp = t.stamp;
  s.atomic = atomic;
  s.write_where = where;
}

inline void touch_slot(Slot& s, Access access, const Block& b, const Thread& t, const void* at, std::int64_t element,
                       Site where) {
  if (s.pending == b.serial && access != Access::copy) report_pending(access, t, at, element, where);
  check_writer(s, access, b, t, at, element, where);
  if (access == Access::read) return note_read(s, b, t, where);
  check_readers(s, access, b, t, at, element, where);
  note_write(s, access, b, t, where);
}

/// t touches an element of shared memory. `element` is its index, for the message.
inline void touch(Access access, const Thread& t, const void* at, std::size_t bytes, std::int64_t element, Site where) {
  const Block& b = *running_block;
  const auto offset = static_cast<std::size_t>(static_cast<const unsigned char*>(at) - b.shared);
  if (bytes < 4) return touch_slot(b.slots[offset % 4 * plane + offset / 4], access, b, t, at, element, where);
  for (std::size_t i = offset / 4; i < (offset + bytes) / 4; ++i)
    touch_slot(b.slots[i], access, b, t, at, element, where);
}

/// A cp.async to these bytes is under way, or no more.
void mark_pending(const void* at, std::size_t bytes, bool);
/// t touches bytes whose element type nobody knows.
void touch_bytes(Access, const Thread&, const void* at, std::size_t bytes, Site);

}  // namespace tenon::cuda::emulation
