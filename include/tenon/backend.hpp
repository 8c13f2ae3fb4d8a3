// One device: its memory, its ordered kernel table, and how a plan is run on it.
#pragma once
#include <memory>
#include <string>

#include "tenon/kernel.hpp"

namespace tenon {

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
};

/// `auto`, `cpu`, `cuda` or `cuda:N`. Throws DeviceError with the reason when the device cannot be used.
[[nodiscard]] Backend& backend(const std::string& device);

}  // namespace tenon
