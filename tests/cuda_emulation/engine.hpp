// The scheduler: runs the blocks of a launch one after the other on the calling OS thread, and the threads of a block
// on fibers. A fiber runs one thread until it waits, which takes another fiber for the next thread, or until it ends,
// after which the same fiber takes the next; so a kernel without barriers costs a function call a thread.
#pragma once
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_emulation/fiber.hpp"
#include "tests/cuda_emulation/launch.hpp"
#include "tests/cuda_emulation/order_of_threads.hpp"

namespace tenon::cuda::emulation {

class Engine {
 public:
  static Engine& here();  // of this OS thread
  Engine();
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Throws EmulationError, or what the kernel threw.
  void run(const Launch&);

  // For the words; the calling thread runs on a fiber of this engine.
  int meet_block(const char* word, bool predicate, const Site&);
  void meet_warp(const char* word, unsigned mask, const Site&, void* argument, Complete, bool orders_memory);
  /// Throws EmulationError, with the block and the schedule.
  [[noreturn]] void abandon(const std::string& what);

 private:
  static void entry();
  void work();
  void run_block(const uint3& index);
  void start_thread(std::uint32_t number);
  void end_thread();
  /// The running thread waits; returns when somebody made it ready and its turn has come.
  void wait(Waiting, const char* word, unsigned mask, const Site&, void* argument);
  /// The running thread could go on and lets the schedule decide.
  void yield();
  void switch_to_next();
  Fiber& free_fiber();
  void check_mask(const char* word, unsigned mask, const Site&);
  void synchronise_warp(Warp&, unsigned mask);
  unsigned lanes_here(const char* word, unsigned mask, const Site&);
  [[noreturn]] void report_deadlock();
  void guard_shared(bool on);
  [[nodiscard]] bool guard_intact() const;

  const Launch* launch_ = nullptr;
  ScheduleChoice choice_{};
  ReadyThreads ready_;
  Block block_{};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  unsigned char* shared_;            // max_shared bytes and a guard
  const Thread* barrier_ = nullptr;  // who came to the barrier first
  std::uint32_t next_thread_ = 0;
  int votes_ = 0, votes_before_ = 0;

  Fiber host_;
  Fiber* current_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
  std::exception_ptr error_;
};

/// The engine of the launch that runs, or ran last, on this OS thread.
extern constinit thread_local Engine* running_engine TENON_NEAR;

/// "threads 0-31, 40": of a sorted list.
std::string thread_list(const std::vector<std::uint32_t>&);
std::string text(const uint3&);

}  // namespace tenon::cuda::emulation
