// Switching of stacks: sixteen instructions for the System V ABI of x86-64, ucontext elsewhere (which costs a system
// call).
#include "tests/cuda_emulation/fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef TENON_FIBER_UCONTEXT
extern "C" void tenon_emulation_switch(void** save, void* load);
// What the ABI lets a callee change freely is lost over a call anyway; the other six registers go to the stack.
asm(R"(
.text
.p2align 4
.globl tenon_emulation_switch
.hidden tenon_emulation_switch
.type tenon_emulation_switch, @function
tenon_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tenon_emulation_switch, . - tenon_emulation_switch
)");
#endif

namespace tenon::cuda::emulation {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t stack_bytes = 256 * 1024;  // its frames are larger
#else
constexpr std::size_t stack_bytes = 64 * 1024;
#endif

thread_local Fiber* previous = nullptr;  // who switched last

void arrived() {
#ifdef __SANITIZE_ADDRESS__
  // The bounds are how the OS thread's stack is learned.
  __sanitizer_finish_switch_fiber(nullptr, &previous->bottom, &previous->bytes);
#endif
}

}  // namespace

Fiber::Fiber(Entry entry_) : entry(entry_), bytes(stack_bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* p = mmap(nullptr, page + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  mapping = static_cast<unsigned char*>(p);
  mprotect(mapping, page, PROT_NONE);  // an overflow faults
  bottom = mapping + page;
  rewind();
}

Fiber::~Fiber() {
  if (mapping == nullptr) return;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(bottom, stack_bytes);
#endif
  munmap(mapping, static_cast<std::size_t>(static_cast<const unsigned char*>(bottom) - mapping) + stack_bytes);
}

void Fiber::rewind() {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(bottom, stack_bytes);
#endif
  fake_stack = nullptr;
#ifdef TENON_FIBER_UCONTEXT
  getcontext(&context);
  context.uc_stack.ss_sp = const_cast<void*>(bottom);
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
#else
  // As if the entry had been called from address 0: six registers, the entry, the return address.
  auto* top = reinterpret_cast<std::uint64_t*>(const_cast<unsigned char*>(static_cast<const unsigned char*>(bottom)) +
                                               stack_bytes);
  for (int i = 1; i <= 8; ++i) top[-i] = 0;
  top[-2] = reinterpret_cast<std::uint64_t>(entry);
  stack_pointer = top - 8;
#endif
}

void fiber_entered() { arrived(); }

void switch_fiber(Fiber& from, Fiber& to, [[maybe_unused]] bool last) {
  previous = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.bottom, to.bytes);
#endif
#ifdef TENON_FIBER_UCONTEXT
  swapcontext(&from.context, &to.context);
#else
  tenon_emulation_switch(&from.stack_pointer, to.stack_pointer);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack, &previous->bottom, &previous->bytes);
#endif
}

}  // namespace tenon::cuda::emulation
