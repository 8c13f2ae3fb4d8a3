// One device: its memory, its ordered kernel table, and how a plan is run on it.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "tenon/kernel.hpp"

namespace tenon {

struct StepBlockLoops;

/// What a device can do at most, measured on it.
struct Peak {
  double flops = 0;       // FLOP/s of multiply-adds in registers, in the widest instructions in use; an FMA is two
  double tile_flops = 0;  // FLOP/s of products of bf16 in tiles, where there are any in use
  double bandwidth = 0;   // bytes a second, read and written, of a copy larger than the second-level caches
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string name() const = 0;         // "cpu"
  [[nodiscard]] virtual std::string description() const = 0;  // "Intel(R) Xeon(R) Processor, 2 threads, avx512"
  /// Rows in the order in which they are asked.
  [[nodiscard]] virtual const KernelTable& kernels() const = 0;
  [[nodiscard]] virtual int default_threads() const = 0;
  /// True where the best rows compute in canonical order (section "Precision" of the README).
  [[nodiscard]] virtual bool canonical() const = 0;
  /// Of so many threads together. The first call for their number measures, which takes some tenths of a second.
  [[nodiscard]] virtual Peak peak(int threads) const = 0;

  // --- memory: the host's, unless a device overrides what follows ---------------------------------------------------
  /// True where kernels read and write the host's memory, so that nothing has to be copied or recorded.
  [[nodiscard]] virtual bool on_host() const { return true; }
  /// 256-byte aligned, its content anything. Throws DeviceError where there is not enough.
  [[nodiscard]] virtual void* allocate(std::size_t bytes);
  virtual void release(void*) noexcept;
  /// On the host, for copies that the device makes by itself.
  [[nodiscard]] virtual void* allocate_pinned(std::size_t bytes) { return allocate(bytes); }
  virtual void release_pinned(void* memory) noexcept { release(memory); }
  // In the order of the calls; the host's memory has to stay until synchronize(). Throw DeviceError.
  virtual void upload(void* to, const void* from, std::size_t bytes);
  virtual void download(void* to, const void* from, std::size_t bytes);
  virtual void clear(void*, std::size_t bytes);
  /// Waits for all of the above and for every kernel. Throws DeviceError with what went wrong since the last time.
  virtual void synchronize() {}

  // --- replay: for devices that are not the host ---------------------------------------------------------------------
  /// What kernels find in Call::stream.
  [[nodiscard]] virtual void* stream() const { return nullptr; }
  /// Work between the two is recorded and not run; the recording runs by replay(). Null where the device has no such thing.
  virtual void begin_capture() {}
  /// What is recorded from here on is a piece of its own, which waits for the pieces named and may run beside all others. They are
  /// numbered from 0 on in the order of these calls. Without one, everything recorded runs in order.
  virtual void begin_piece(std::span<const std::int32_t> /*after*/) {}
  [[nodiscard]] virtual std::shared_ptr<void> end_capture() { return nullptr; }
  virtual void replay(void* /*recording*/) {}
  /// For blocks of training steps without the host (kernels/common/step_block.hpp); null where the device has no such loops.
  [[nodiscard]] virtual StepBlockLoops step_block_loops() const;
  /// Held by who gives work to the device: runs of several threads do not mix.
  [[nodiscard]] std::mutex& mutex() const { return mutex_; }

 private:
  mutable std::mutex mutex_;
};

/// `auto`, `cpu`, `cuda` or `cuda:N`. Throws DeviceError with the reason when the device cannot be used. `auto` is the first
/// CUDA device where there is one that can be used, else the CPU.
[[nodiscard]] Backend& backend(const std::string& device);
/// Why CUDA cannot be used here, in one line; empty where it can.
[[nodiscard]] std::string cuda_unavailable();

}  // namespace tenon
