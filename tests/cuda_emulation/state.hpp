// What the emulation knows of the block that runs on this OS thread, and of its threads. A block never leaves its OS
// thread, so that thread_local variables serve; kernels reach them through the words (words.hpp) only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cuda_emulation/vectors.hpp"

namespace tenon::cuda::emulation {

/// What is wrong with a kernel or with its launch, in a line.
class EmulationError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A place in the source. `Site where = Site::current()` as a parameter is the caller's.
#ifdef __cpp_lib_source_location
using Site = std::source_location;
#else  // clang 14
class Site {
 public:
  static constexpr Site current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE(),
                                unsigned column = __builtin_COLUMN()) {
    Site s;
    s.file_ = file;
    s.line_ = line;
    s.column_ = column;
    return s;
  }
  [[nodiscard]] constexpr const char* file_name() const { return file_; }
  [[nodiscard]] constexpr unsigned line() const { return line_; }
  [[nodiscard]] constexpr unsigned column() const { return column_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0, column_ = 0;
};
#endif
std::string text(const Site&);  // file:line

inline constexpr std::uint32_t lanes = 32, max_threads = 1024;
/// Twice it is a signalling NaN of fp32, once one of bf16 and a NaN of fp16: what nobody has written yet.
inline constexpr std::uint16_t nan_pattern = 0x7FA5;
inline constexpr std::size_t default_shared = 48 * 1024, max_shared = 227 * 1024;

struct Fiber;
struct Slot;

/// What a thread waits for: nothing, the block, lanes of its warp, or just its turn.
enum class Waiting : std::uint8_t { no, block, warp, turn };

/// A cp.async that no wait has covered yet.
struct AsyncCopy {
  unsigned char* to;
  const void* from;  // null: zeros
  std::size_t bytes;
  std::uint32_t group;
  Site where;
};

struct Thread {
  uint3 index;
  std::uint32_t number, lane, warp;
  std::uint32_t stamp;  // number of the last __syncwarp that it took part in
  std::uint32_t group;  // of the cp.async that it starts now
  std::vector<AsyncCopy> copies;

  Waiting waiting = Waiting::no;
  // While it waits.
  const char* word;
  Site where;
  unsigned mask;  // of a word of the warp
  void* argument;
  Fiber* fiber;
};

/// Time in a warp goes by the __syncwarp of its lanes. clock[u][t] = n: what lane t did before the warp's n-th
/// __syncwarp, lane u may rely on. Words of whole warps only move last_full, which holds for all of them.
struct Warp {
  std::uint32_t exist, done;  // lanes
  std::uint32_t waiting;      // how many, for others of the warp
  // The meeting that was begun last, while arrived is not 0; there may be others, of other lanes.
  std::uint32_t arrived, mask;
  const char* word;
  Site where;
  std::uint32_t stamps, last_full;
  bool partial;  // whether clock says more than last_full
  std::uint32_t clock[lanes][lanes];
};

struct Block {
  uint3 index;
  dim3 extent, grid;
  unsigned char* shared;
  std::size_t shared_bytes;
  std::uint32_t serial;  // of the block, on this OS thread
  std::uint32_t epoch;   // moves with every barrier, and from block to block
  std::uint32_t threads, done, arrived;
  Slot* slots;  // see race.hpp
  Thread* thread;
  Warp* warp;

  [[nodiscard]] bool owns(const void* p, std::size_t bytes = 1) const {
    const auto* at = static_cast<const unsigned char*>(p);
    return at >= shared && at + bytes <= shared + shared_bytes;
  }
};

/// Every access to shared memory looks at these, and a module's thread_local variables cost a call each unless they are said to lie
/// where the program's own do.
#define TENON_NEAR __attribute__((tls_model("initial-exec")))
extern constinit thread_local Thread* running TENON_NEAR;  // null outside kernels
extern constinit thread_local Block* running_block TENON_NEAR;

/// Throws EmulationError. In a kernel that ends the launch: its other threads are abandoned where they are, and
/// launch() throws.
[[noreturn]] void fail(const std::string& what);

/// The thread waits until all threads of the block are in the same word at the same site; predicates are added up.
int meet_block(const char* word, bool predicate, const Site&);

/// The thread waits until the lanes of `mask` are in the same word at the same site; the last one calls `complete` with
/// what each brought. Only __syncwarp orders memory: shuffles and votes do not, says the CUDA C++ Programming Guide.
using Complete = void (*)(void* const arguments[lanes], unsigned mask);
void meet_warp(const char* word, unsigned mask, const Site&, void* argument, Complete complete,
               bool orders_memory = false);

}  // namespace tenon::cuda::emulation
