// The module: devices, memory, streams and graphs of the CUDA runtime, and the tables of kernels.
#include "kernels/cuda/module.hpp"

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "kernels/cuda/library_rows.hpp"
#include "kernels/cuda/loops.hpp"
#include "kernels/cuda/module_device.hpp"
#include "kernels/cuda/step_block_runs.hpp"

#ifndef TENON_CUDA_TARGETS
#error "TENON_CUDA_TARGETS lists the compute capabilities, as in \"80 90+PTX\""
#endif

namespace tenon::cuda {

struct Graph {
  cudaGraphExec_t exec = nullptr;
};

namespace {

constexpr int oldest_driver = 12030;  // captures that know their edges

template <class... Values>
Answer answer(Code code, const char* format, Values... values) {
  Answer a{code, {}};
  std::snprintf(a.text, sizeof a.text, format, values...);
  return a;
}
Answer answer_of(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();  // told here, not once more by the next synchronisation
  const Code code = error == cudaErrorMemoryAllocation ? Code::out_of_memory : Code::failed;
  return answer(code, "%s: %s (%s)", doing, cudaGetErrorString(error), cudaGetErrorName(error));
}

/// Every thread has a current device of its own.
cudaError_t enter(const Device* d) { return cudaSetDevice(d->ordinal); }

Answer devices(std::int32_t* count) {
  *count = 0;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    (void)cudaGetLastError();
    return answer(Code::no_driver, "no NVIDIA driver is installed");
  }
  if (driver < oldest_driver)
    return answer(Code::driver_too_old, "expected a driver for CUDA %d.%d or newer, found one for %d.%d",
                  oldest_driver / 1000, oldest_driver % 1000 / 10, driver / 1000, driver % 1000 / 10);
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  if (error == cudaErrorInsufficientDriver) {
    int runtime = 0;
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetLastError();
    return answer(Code::driver_too_old, "expected a driver for CUDA %d.%d, found one for %d.%d", runtime / 1000,
                  runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && found == 0)) {
    (void)cudaGetLastError();
    return answer(Code::no_device, "the driver knows no device");
  }
  *count = found;
  return answer_of(error, "counting devices");
}

/// True where one of the targets, or the PTX of the last, runs on the capability. A cubin runs on later minor versions.
bool built_for(const char* targets, int major, int minor) {
  for (const char* at = targets; *at != '\0';) {
    char* end = nullptr;
    const long target = std::strtol(at, &end, 10);
    if (end == at) return false;
    const bool specific = *end == 'a';  // sm_90a: this capability and no other
    if (specific) ++end;
    const bool ptx = *end == '+';
    const int target_major = static_cast<int>(target / 10), target_minor = static_cast<int>(target % 10);
    if (target_major == major && (specific ? target_minor == minor : target_minor <= minor)) return true;
    if (ptx && (target_major < major || (target_major == major && target_minor <= minor))) return true;
    while (*end != '\0' && (*end < '0' || *end > '9')) ++end;
    at = end;
  }
  return false;
}

std::int32_t attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, ordinal) != cudaSuccess) (void)cudaGetLastError();
  return value;
}

Answer open(std::int32_t ordinal, Device** device, DeviceInfo* info) {
  std::int32_t count = 0;
  if (const Answer a = devices(&count); a.code != Code::ok) return a;
  if (ordinal < 0 || ordinal >= count)
    return answer(Code::no_device, "expected a device below %d, found number %d", count, ordinal);
  cudaDeviceProp properties{};
  if (const Answer a = answer_of(cudaGetDeviceProperties(&properties, ordinal), "reading the device's properties");
      a.code != Code::ok)
    return a;
  if (!built_for(TENON_CUDA_TARGETS, properties.major, properties.minor))
    return answer(Code::not_built_for, "%s has compute capability %d.%d, the module was built for %s", properties.name,
                  properties.major, properties.minor, TENON_CUDA_TARGETS);
  auto* opened = new (std::nothrow) Device{ordinal, nullptr, nullptr};
  if (opened == nullptr) return answer(Code::out_of_memory, "no memory on the host");
  cudaError_t error = enter(opened);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&opened->stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) {
    delete opened;
    return answer_of(error, "opening the device");
  }
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  info->major = properties.major;
  info->minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->clock_khz = attribute(cudaDevAttrClockRate, ordinal);
  info->memory_khz = attribute(cudaDevAttrMemoryClockRate, ordinal);
  info->memory_bits = attribute(cudaDevAttrGlobalMemoryBusWidth, ordinal);
  info->memory = properties.totalGlobalMem;
  (void)cudaDriverGetVersion(&info->driver);
  (void)cudaRuntimeGetVersion(&info->runtime);
  *device = opened;
  return {};
}

void close(Device* d) {
  close_libraries(d);
  if (enter(d) == cudaSuccess) (void)cudaStreamDestroy(d->stream);
  delete d;
}
void* stream(Device* d) { return d->stream; }

Answer allocate(Device* d, std::size_t bytes, void** memory) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  const cudaError_t error = cudaMalloc(memory, bytes);
  if (error == cudaSuccess) return {};
  char doing[80];
  std::snprintf(doing, sizeof doing, "allocating %zu bytes on the device", bytes);
  return answer_of(error, doing);
}
void release(Device* d, void* memory) {
  if (enter(d) == cudaSuccess) (void)cudaFree(memory);
}
Answer allocate_pinned(Device* d, std::size_t bytes, void** memory) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(cudaMallocHost(memory, bytes), "allocating pinned memory on the host");
}
void release_pinned(Device* d, void* memory) {
  if (enter(d) == cudaSuccess) (void)cudaFreeHost(memory);
}

Answer upload(Device* d, void* to, const void* from, std::size_t bytes) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, d->stream), "copying to the device");
}
Answer download(Device* d, void* to, const void* from, std::size_t bytes) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, d->stream), "copying from the device");
}
Answer clear(Device* d, void* memory, std::size_t bytes) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(cudaMemsetAsync(memory, 0, bytes, d->stream), "clearing memory on the device");
}
Answer synchronize(Device* d) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  // A launch that was refused is known here only: a step has no result.
  if (const cudaError_t launched = cudaGetLastError(); launched != cudaSuccess)
    return answer_of(launched, "launching a kernel");
  if (Text failure; take_library_failure(d, &failure)) {
    (void)cudaStreamSynchronize(d->stream);
    return answer(Code::failed, "%s", failure.text);
  }
  return answer_of(cudaStreamSynchronize(d->stream), "running kernels");
}

Answer begin_capture(Device* d) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  d->pieces.clear();
  return answer_of(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), "beginning a capture");
}
Answer begin_piece(Device* d, const std::int32_t* after, std::int32_t count) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(d->pieces.begin(d->stream, after, count), "ordering a capture");
}
Answer end_capture(Device* d, Graph** graph) {
  cudaGraph_t captured = nullptr;
  if (const cudaError_t e = cudaStreamEndCapture(d->stream, &captured); e != cudaSuccess)
    return answer_of(e, "ending a capture");
  // A library's call that failed is missing from the recording.
  if (Text failure; take_library_failure(d, &failure)) {
    (void)cudaGraphDestroy(captured);
    return answer(Code::failed, "%s", failure.text);
  }
  auto* made = new (std::nothrow) Graph{};
  const cudaError_t error =
      made == nullptr ? cudaErrorMemoryAllocation : cudaGraphInstantiate(&made->exec, captured, 0);
  (void)cudaGraphDestroy(captured);
  if (error != cudaSuccess) {
    delete made;
    return answer_of(error, "instantiating a graph");
  }
  *graph = made;
  return {};
}
Answer replay(Device* d, Graph* graph) {
  if (const cudaError_t e = enter(d); e != cudaSuccess) return answer_of(e, "selecting the device");
  return answer_of(cudaGraphLaunch(graph->exec, d->stream), "launching a graph");
}
void release_graph(Device* d, Graph* graph) {
  if (enter(d) == cudaSuccess) (void)cudaGraphExecDestroy(graph->exec);
  delete graph;
}

}  // namespace
}  // namespace tenon::cuda

extern "C" __attribute__((visibility("default"))) const tenon::cuda::Module* tenon_cuda_module() {
  using namespace tenon::cuda;
  static const Module module{.abi = module_abi,
                             .layout = module_layout(),
                             .version = TENON_VERSION,
                             .targets = TENON_CUDA_TARGETS,
                             .loops = &loops,
                             .fp16 = &fp16_contractions,
                             .bf16 = &bf16_contractions,
                             .tf32 = &tf32_contractions,
                             .tiled = &tiled_contractions,
                             .naive = &naive_contractions,
                             .step_block = {feed, advance},
                             .library_rows = library_rows,
                             .devices = devices,
                             .open = open,
                             .close = close,
                             .stream = stream,
                             .allocate = allocate,
                             .release = release,
                             .allocate_pinned = allocate_pinned,
                             .release_pinned = release_pinned,
                             .upload = upload,
                             .download = download,
                             .clear = clear,
                             .synchronize = synchronize,
                             .begin_capture = begin_capture,
                             .begin_piece = begin_piece,
                             .end_capture = end_capture,
                             .replay = replay,
                             .release_graph = release_graph};
  return &module;
}
