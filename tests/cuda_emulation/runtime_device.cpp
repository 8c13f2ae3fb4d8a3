// The one device, versions, attributes of kernels and the names of errors.
#include <cstdio>

#include "tests/cuda_emulation/runtime_state.hpp"

using namespace tenon::cuda::emulation;

namespace {

thread_local int chosen_device = 0;

struct ErrorName {
  cudaError_t error;
  const char *name, *text;
};
#define TENON_ERROR(name, text) \
  { name, #name, text }
constexpr ErrorName errors[] = {
    TENON_ERROR(cudaSuccess, "no error"),
    TENON_ERROR(cudaErrorInvalidValue, "invalid argument"),
    TENON_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    TENON_ERROR(cudaErrorInitializationError, "initialization error"),
    TENON_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    TENON_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    TENON_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    TENON_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    TENON_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    TENON_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    TENON_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    TENON_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    TENON_ERROR(cudaErrorNotReady, "device not ready"),
    TENON_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    TENON_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    TENON_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    TENON_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    TENON_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    TENON_ERROR(cudaErrorStreamCaptureImplicit,
                "operation would make the legacy stream depend on a capturing blocking stream"),
    TENON_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    TENON_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef TENON_ERROR

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  return api("cudaGetDeviceCount", "", [&](Runtime&) {
    *count = 1;
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  return api("cudaSetDevice", std::to_string(device), [&](Runtime&) {
    if (device != 0) return cudaErrorInvalidDevice;
    chosen_device = device;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDevice(int* device) {
  return api("cudaGetDevice", "", [&](Runtime&) {
    *device = chosen_device;
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return api("cudaDeviceGetAttribute", std::to_string(attribute) + ", " + std::to_string(device), [&](Runtime&) {
    if (device != 0) return cudaErrorInvalidDevice;
    // One made-up GPU: 1 GHz, and memory of 2 GHz behind 64 bits.
    *value = attribute == cudaDevAttrClockRate                      ? 1000000
             : attribute == cudaDevAttrMemoryClockRate              ? 2000000
             : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? static_cast<int>(max_shared)
                                                                    : 64;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  return api("cudaGetDeviceProperties", std::to_string(device), [&](Runtime&) {
    if (device != 0) return cudaErrorInvalidDevice;
    *p = {};
    std::snprintf(p->name, sizeof p->name, "emulated GPU");
    p->totalGlobalMem = std::size_t{16} << 30;
    p->sharedMemPerBlock = default_shared;
    p->sharedMemPerBlockOptin = max_shared;
    p->sharedMemPerMultiprocessor = max_shared + 1024;
    p->major = 9;
    p->minor = 0;
    p->multiProcessorCount = 4;
    p->warpSize = static_cast<int>(lanes);
    p->maxThreadsPerBlock = static_cast<int>(max_threads);
    p->regsPerBlock = 65536;
    p->l2CacheSize = 50 << 20;
    return cudaSuccess;
  });
}
cudaError_t cudaDriverGetVersion(int* version) {
  return api("cudaDriverGetVersion", "", [&](Runtime&) {
    *version = 13000;
    return cudaSuccess;
  });
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  return api("cudaRuntimeGetVersion", "", [&](Runtime&) {
    *version = 13000;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return api("cudaFuncSetAttribute", std::to_string(attribute) + ", " + std::to_string(value), [&](Runtime& r) {
    if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<std::size_t>(value) > max_shared) return cudaErrorInvalidValue;
    r.shared_limits[kernel] = value;
    return cudaSuccess;
  });
}

cudaError_t cudaGetLastError() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  const cudaError_t e = r.sticky != cudaSuccess ? r.sticky : last_error();
  last_error() = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  return r.sticky != cudaSuccess ? r.sticky : last_error();
}
const char* cudaGetErrorString(cudaError_t e) {
  for (const ErrorName& n : errors)
    if (n.error == e) return n.text;
  return "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t e) {
  for (const ErrorName& n : errors)
    if (n.error == e) return n.name;
  return "unrecognized error code";
}
