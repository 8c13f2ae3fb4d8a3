// Blocks, threads and fibers of engine.hpp. Nothing is thrown over a switch of stacks: the fiber of the thread that
// fails catches and keeps the error, the others are left where they are, and run() throws.
#include "tests/cuda_emulation/engine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "tests/cuda_emulation/race.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace tenon::cuda::emulation {

constinit thread_local Thread* running TENON_NEAR = nullptr;
constinit thread_local Block* running_block TENON_NEAR = nullptr;
constinit thread_local Engine* running_engine TENON_NEAR = nullptr;

namespace {

constexpr std::size_t guard_bytes = 512;
constexpr unsigned char guard_byte = 0xA5;

template <class T>
T* mapped(std::size_t count) {
  void* p =
      mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return static_cast<T*>(p);
}

}  // namespace

Engine& Engine::here() {
  thread_local const auto engine = std::make_unique<Engine>();  // no value: there is little room beside TENON_NEAR
  return *engine;
}

Engine::Engine() : threads_(max_threads), warps_(max_threads / lanes) {
  shared_ = mapped<unsigned char>(max_shared + guard_bytes);
  block_.slots = mapped<Slot>(4 * plane);
  block_.thread = threads_.data();
  block_.warp = warps_.data();
  block_.shared = shared_;
}
Engine::~Engine() {
  munmap(shared_, max_shared + guard_bytes);
  munmap(block_.slots, 4 * plane * sizeof(Slot));
}

void Engine::run(const Launch& launch) {
  if (running_block != nullptr) throw EmulationError("a kernel started a kernel");
  launch_ = &launch;
  choice_ = next_schedule();
  block_.extent = launch.block;
  block_.grid = launch.grid;
  block_.shared_bytes = launch.shared_bytes;
  block_.threads = launch.block.x * launch.block.y * launch.block.z;
  running_block = &block_;
  running_engine = this;
  guard_shared(true);
  const dim3& grid = launch.grid;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t i = 0; i < blocks && !error_; ++i) {
    const std::uint64_t b = block_at(choice_, i, blocks);
    run_block({static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
               static_cast<unsigned>(b / grid.x / grid.y)});
  }
  guard_shared(false);
  running_block = nullptr;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

/// Behind the block's shared memory: poison for AddressSanitizer, else bytes that run_block() looks at.
void Engine::guard_shared(bool on) {
#ifdef __SANITIZE_ADDRESS__
  if (on)
    __asan_poison_memory_region(shared_ + block_.shared_bytes, max_shared + guard_bytes - block_.shared_bytes);
  else
    __asan_unpoison_memory_region(shared_, max_shared + guard_bytes);
#else
  if (on) std::memset(shared_ + block_.shared_bytes, guard_byte, guard_bytes);
#endif
}

bool Engine::guard_intact() const {
#ifdef __SANITIZE_ADDRESS__
  return true;  // else the program has stopped
#else
  static const std::vector<unsigned char> expected(guard_bytes, guard_byte);
  return std::memcmp(shared_ + block_.shared_bytes, expected.data(), guard_bytes) == 0;
#endif
}

void Engine::run_block(const uint3& index) {
  block_.index = index;
  block_.done = block_.arrived = 0;
  ++block_.epoch;
  ++block_.serial;
  votes_ = 0;
  const std::size_t words = block_.shared_bytes / 2;
  std::fill_n(reinterpret_cast<std::uint16_t*>(shared_), words, nan_pattern);
  for (std::uint32_t w = 0; w * lanes < block_.threads; ++w) {
    Warp& warp = warps_[w];
    const std::uint32_t count = std::min(block_.threads - w * lanes, lanes);
    warp.exist = count == lanes ? ~0u : (1u << count) - 1;
    warp.done = warp.waiting = warp.arrived = warp.stamps = warp.last_full = 0;
    warp.partial = false;
  }
  ready_.begin(choice_, block_.threads,
               index.x + std::uint64_t{block_.grid.x} * (index.y + std::uint64_t{block_.grid.y} * index.z));
  next_thread_ = ready_.next();
  current_ = &free_fiber();
  switch_fiber(host_, *current_);
  running = nullptr;
  if (error_) {
    free_.clear();
    for (const auto& f : fibers_) {
      f->rewind();
      free_.push_back(f.get());
    }
    for (std::uint32_t t = 0; t < block_.threads; ++t) {
      threads_[t].waiting = Waiting::no;
      threads_[t].copies.clear();
    }
    return;
  }
  if (guard_intact()) return;
  error_ = std::make_exception_ptr(EmulationError("block " + text(index) + ": something was written behind the " +
                                                  std::to_string(block_.shared_bytes) + " bytes of shared memory"));
}

Fiber& Engine::free_fiber() {
  if (free_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Engine::entry));
    return *fibers_.back();
  }
  Fiber& f = *free_.back();
  free_.pop_back();
  return f;
}

void Engine::entry() {
  fiber_entered();
  Engine::here().work();
}

/// What a fiber does: it starts threads, one after the other. When one that waited has its turn, it is free for later.
void Engine::work() {
  for (;;) {
    start_thread(next_thread_);
    std::uint32_t n = ReadyThreads::nobody;
    try {
      launch_->body();
      end_thread();
      n = ready_.next();
      if (n == ReadyThreads::nobody && block_.done != block_.threads) report_deadlock();
    } catch (...) {
      error_ = std::current_exception();
    }
    if (error_) switch_fiber(*current_, host_, true);
    if (n == ReadyThreads::nobody) {
      Fiber& mine = *current_;
      free_.push_back(&mine);
      switch_fiber(mine, host_);
    } else if (threads_[n].waiting == Waiting::no) {
      next_thread_ = n;
    } else {
      Fiber& mine = *current_;
      free_.push_back(&mine);
      running = &threads_[n];
      current_ = running->fiber;
      switch_fiber(mine, *current_);
    }
  }
}

void Engine::start_thread(std::uint32_t number) {
  Thread& t = threads_[number];
  const dim3& e = block_.extent;
  t.index = number < e.x ? uint3{number, 0, 0} : uint3{number % e.x, number / e.x % e.y, number / e.x / e.y};
  t.number = number;
  t.lane = number % lanes;
  t.warp = number / lanes;
  t.stamp = t.group = 0;
  if (!t.copies.empty()) t.copies.clear();
  running = &t;
}

void Engine::end_thread() {
  Thread& t = *running;
  ++block_.done;
  Warp& warp = warps_[t.warp];
  warp.done |= 1u << t.lane;
  if (block_.arrived != 0) {
    for (std::uint32_t i = 0; i < block_.threads; ++i)
      if (threads_[i].waiting == Waiting::block)
        abandon("thread " + std::to_string(t.number) + " returned while thread " + std::to_string(i) +
                " waits for it in " + threads_[i].word + " at " + text(threads_[i].where));
  }
  if (warp.waiting == 0) return;
  for (std::uint32_t l = 0; l < lanes; ++l)
    if (const Thread& other = threads_[t.warp * lanes + l]; other.waiting == Waiting::warp && other.mask >> t.lane & 1)
      abandon("thread " + std::to_string(t.number) + " returned while thread " + std::to_string(other.number) +
              " waits for it in " + other.word + " at " + text(other.where));
}

void Engine::switch_to_next() {
  const std::uint32_t n = ready_.next();
  if (n == ReadyThreads::nobody) report_deadlock();
  Thread& next = threads_[n];
  Thread& mine = *running;
  if (&next == &mine) return;
  Fiber& from = *current_;
  mine.fiber = &from;
  if (next.waiting == Waiting::no) {
    next_thread_ = n;
    current_ = &free_fiber();
  } else {
    running = &next;
    current_ = next.fiber;
  }
  switch_fiber(from, *current_);
}

void Engine::wait(Waiting waiting, const char* word, unsigned mask, const Site& where, void* argument) {
  Thread& t = *running;
  t.waiting = waiting;
  t.word = word;
  t.mask = mask;
  t.where = where;
  t.argument = argument;
  switch_to_next();
  t.waiting = Waiting::no;
}

void Engine::yield() {
  Thread& t = *running;
  t.waiting = Waiting::turn;
  ready_.add(t.number);
  switch_to_next();
  t.waiting = Waiting::no;
}

void Engine::abandon(const std::string& what) {
  throw EmulationError("block " + text(block_.index) + ": " + what + " [schedule " + schedule_text() + "]");
}

void fail(const std::string& what) {
  if (running == nullptr) throw EmulationError(what);
  Engine::here().abandon(what);
}

}  // namespace tenon::cuda::emulation
