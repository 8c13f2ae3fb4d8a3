// One device: its memory, its ordered kernel table, and how a plan is run on it.
#pragma once
#include <memory>
#include <string>

#include "tenon/kernel.hpp"

namespace tenon {

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
};

/// `auto`, `cpu`, `cuda` or `cuda:N`. Throws DeviceError with the reason when the device cannot be used.
[[nodiscard]] Backend& backend(const std::string& device);

}  // namespace tenon
