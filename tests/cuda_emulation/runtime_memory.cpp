// Device and pinned memory, and copies.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "tests/cuda_emulation/runtime_memory.hpp"
#include "tests/cuda_emulation/runtime_state.hpp"

using namespace tenon::cuda::emulation;

namespace tenon::cuda::emulation {
namespace {

constexpr std::size_t device_total = std::size_t{16} << 30, alignment = 256;
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t guard = 0;  // malloc has red zones
#else
constexpr std::size_t guard = alignment;
#endif
constexpr unsigned char guard_byte = 0xA5;

std::size_t used(const Runtime& r) {
  std::size_t sum = 0;
  for (const auto& [start, bytes] : r.device) sum += bytes;
  return sum;
}

bool intact(const unsigned char* start, std::size_t bytes) {
  static const std::vector<unsigned char> expected(alignment, guard_byte);
  return std::memcmp(start + bytes, expected.data(), guard) == 0 &&
         std::memcmp(start - guard, expected.data(), guard) == 0;
}

const char* text(cudaMemcpyKind kind) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return "HostToHost";
    case cudaMemcpyHostToDevice:
      return "HostToDevice";
    case cudaMemcpyDeviceToHost:
      return "DeviceToHost";
    case cudaMemcpyDeviceToDevice:
      return "DeviceToDevice";
    case cudaMemcpyDefault:
      break;
  }
  return "Default";
}

/// Whether the operand is where `kind` says, as a whole.
bool fits(const Runtime& r, const void* p, std::size_t bytes, bool on_device) {
  if (on_device) return Runtime::inside(r.device, p, bytes);
  return p != nullptr && !Runtime::inside(r.device, p, 1);
}

cudaError_t check_copy(const Runtime& r, const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                       bool captures) {
  if (bytes == 0) return cudaSuccess;
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const bool any = kind == cudaMemcpyDefault;
  const bool to_device =
      any ? Runtime::inside(r.device, to, 1) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device =
      any ? Runtime::inside(r.device, from, 1) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (!fits(r, to, bytes, to_device) || !fits(r, from, bytes, from_device)) return cudaErrorInvalidValue;
  // A copy of pageable memory goes through a buffer at the time of the call.
  const bool pageable = (!to_device && !Runtime::inside(r.pinned, to, bytes)) ||
                        (!from_device && !Runtime::inside(r.pinned, from, bytes));
  return captures && pageable ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

}  // namespace

void check_guards() {
  if constexpr (guard == 0) return;
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  for (const auto& [start, bytes] : r.device)
    if (!intact(start, bytes)) {
      auto* p = const_cast<unsigned char*>(start);
      std::memset(p - guard, guard_byte, guard);
      std::memset(p + bytes, guard_byte, guard);
      throw EmulationError("a kernel wrote beside an allocation of " + std::to_string(bytes) +
                           " bytes of device memory");
    }
}

}  // namespace tenon::cuda::emulation

cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  return api("cudaMalloc", std::to_string(bytes), [&](Runtime& r) {
    if (const cudaError_t e = r.refuse_in_capture(); e != cudaSuccess) return e;
    if (p == nullptr) return cudaErrorInvalidValue;
    *p = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (bytes > device_total - used(r)) return cudaErrorMemoryAllocation;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes + 2 * guard) != 0) return cudaErrorMemoryAllocation;
    auto* start = static_cast<unsigned char*>(memory) + guard;
    std::memset(start - guard, guard_byte, guard);
    std::memset(start, 0xFF, bytes);  // NaN
    std::memset(start + bytes, guard_byte, guard);
    r.device[start] = bytes;
    *p = start;
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* p) {
  if (p != nullptr) drain_all();
  return api("cudaFree", p == nullptr ? "null" : "", [&](Runtime& r) {
    if (const cudaError_t e = r.refuse_in_capture(); e != cudaSuccess) return e;
    if (p == nullptr) return cudaSuccess;
    auto* start = static_cast<unsigned char*>(p);
    if (r.device.erase(start) == 0) return cudaErrorInvalidValue;
    std::free(start - guard);
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** p, std::size_t bytes) {
  return api("cudaMallocHost", std::to_string(bytes), [&](Runtime& r) {
    if (const cudaError_t e = r.refuse_in_capture(); e != cudaSuccess) return e;
    if (p == nullptr) return cudaErrorInvalidValue;
    *p = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (posix_memalign(p, alignment, bytes) != 0) return cudaErrorMemoryAllocation;
    r.pinned[static_cast<unsigned char*>(*p)] = bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* p) {
  if (p != nullptr) drain_all();
  return api("cudaFreeHost", p == nullptr ? "null" : "", [&](Runtime& r) {
    if (const cudaError_t e = r.refuse_in_capture(); e != cudaSuccess) return e;
    if (p == nullptr) return cudaSuccess;
    if (r.pinned.erase(static_cast<unsigned char*>(p)) == 0) return cudaErrorInvalidValue;
    std::free(p);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return api("cudaMemGetInfo", "", [&](Runtime& r) {
    *total = device_total;
    *free = device_total - used(r);
    return cudaSuccess;
  });
}

/// Pageable memory is read before the call returns, and written before it returns; pinned memory when the stream comes
/// to it.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  bool waits = false;
  auto staged = std::make_shared<std::vector<unsigned char>>();
  const cudaError_t e = submit(
      "cudaMemcpyAsync", std::to_string(bytes) + ", " + text(kind), stream,
      [&](Runtime& r, bool captures) {
        const cudaError_t wrong = check_copy(r, to, from, bytes, kind, captures);
        if (wrong != cudaSuccess || bytes == 0 || captures || !r.late) return wrong;
        waits = !Runtime::inside(r.device, to, 1) && !Runtime::inside(r.pinned, to, 1);
        if (!Runtime::inside(r.device, from, 1) && !Runtime::inside(r.pinned, from, 1)) {
          const auto* bytes_of = static_cast<const unsigned char*>(from);
          staged->assign(bytes_of, bytes_of + bytes);
        }
        return wrong;
      },
      [=] {
        if (bytes > 0) std::memmove(to, staged->empty() ? from : staged->data(), bytes);
      });
  return e == cudaSuccess && waits ? drain(stream) : e;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return submit(
      "cudaMemcpy", std::to_string(bytes) + ", " + text(kind), nullptr,
      [&](Runtime& r, bool) {
        const cudaError_t e = r.refuse_in_capture();
        return e != cudaSuccess ? e : check_copy(r, to, from, bytes, kind, false);
      },
      [=] {
        if (bytes > 0) std::memmove(to, from, bytes);
      });
}

cudaError_t cudaMemsetAsync(void* p, int value, std::size_t bytes, cudaStream_t stream) {
  return submit(
      "cudaMemsetAsync", std::to_string(bytes), stream,
      [&](Runtime& r, bool) { return bytes == 0 || fits(r, p, bytes, true) ? cudaSuccess : cudaErrorInvalidValue; },
      [=] {
        if (bytes > 0) std::memset(p, value, bytes);
      });
}
cudaError_t cudaMemset(void* p, int value, std::size_t bytes) {
  return submit(
      "cudaMemset", std::to_string(bytes), nullptr,
      [&](Runtime& r, bool) { return bytes == 0 || fits(r, p, bytes, true) ? cudaSuccess : cudaErrorInvalidValue; },
      [=] {
        if (bytes > 0) std::memset(p, value, bytes);
      });
}
