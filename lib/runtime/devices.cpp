// Names of devices, and the memory of those that are the host.
#include <fmt/format.h>

#include <cstring>

#include "kernels/common/step_block.hpp"
#include "kernels/cpu/rows.hpp"
#include "kernels/cuda/backend.hpp"
#include "lib/runtime/host_memory.hpp"
#include "tenon/backend.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

/// The N of `cuda:N`.
int ordinal_of(const std::string& device) {
  const std::string number = device.size() > 5 ? device.substr(5) : "0";
  if (device.size() == 5 || number.empty() || number.size() > 4 ||
      number.find_first_not_of("0123456789") != std::string::npos)
    throw UsageError(fmt::format("[device] expects auto, cpu or cuda[:N], found '{}'", device));
  return std::stoi(number);
}

}  // namespace

void* Backend::allocate(std::size_t bytes) { return allocate_host(bytes); }
void Backend::release(void* memory) noexcept { release_host(memory); }
void Backend::upload(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
void Backend::download(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
StepBlockLoops Backend::step_block_loops() const { return {}; }
void Backend::clear(void* memory, std::size_t bytes) { std::memset(memory, 0, bytes); }

Backend& backend(const std::string& device) {
  if (device == "cpu") return cpu::host_backend();
  if (device == "auto" || device.empty()) {
    static const bool cuda_here = cuda_unavailable().empty();
    return cuda_here ? cuda::device_backend(0) : cpu::host_backend();
  }
  if (device != "cuda" && !device.starts_with("cuda:"))
    throw UsageError(fmt::format("[device] expects auto, cpu or cuda[:N], found '{}'", device));
  return cuda::device_backend(device == "cuda" ? 0 : ordinal_of(device));
}

std::string cuda_unavailable() {
  try {
    (void)cuda::device_backend(0);
    return {};
  } catch (const DeviceError& e) {
    return e.what();
  }
}

}  // namespace tenon
