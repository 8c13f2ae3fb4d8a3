// Stacks to switch between on one OS thread: what a thread of a block runs on while others of the block go on.
#pragma once
#include <cstddef>
#include <memory>

#if !defined(__x86_64__) || defined(TENON_EMULATION_UCONTEXT)
#define TENON_FIBER_UCONTEXT
#include <ucontext.h>
#endif

namespace tenon::cuda::emulation {

/// A stack with its place of execution. One without a stack of its own stands for the OS thread's.
struct Fiber {
  using Entry = void (*)();

  Fiber() = default;  // the OS thread's
  /// Runs `entry`, which never returns, when it is switched to.
  explicit Fiber(Entry entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Forgets what runs on it, so that it starts from its entry again.
  void rewind();

  Entry entry = nullptr;
  unsigned char* mapping = nullptr;
  const void* bottom = nullptr;  // lowest address of the stack
  std::size_t bytes = 0;
#ifdef TENON_FIBER_UCONTEXT
  ucontext_t context{};
#else
  void* stack_pointer = nullptr;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's
};

/// Saves where `from` is and goes on where `to` was. `last`: nobody will switch back to `from` before it is rewound.
void switch_fiber(Fiber& from, Fiber& to, bool last = false);
/// The first thing that an entry calls.
void fiber_entered();

}  // namespace tenon::cuda::emulation
