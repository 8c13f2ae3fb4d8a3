// The emulated runtime: memory, copies, streams, captures and graphs, recorded calls and injected errors.
#include <cstring>

#include "tests/cuda_emulation/test_support.hpp"

using namespace tenon;
using namespace tenon::cuda;
using namespace tenon::cuda::emulation;

namespace {

__global__ void add(float* x, float v) { x[threadIdx.x] += v; }
__global__ void returns_before_barrier(float*, float) {
  if (threadIdx.x == 3) return;
  __syncthreads();
}
[[maybe_unused]] __global__ void write_at(float* x, std::int64_t i) { x[i] = 1.f; }

/// A stream, pinned and device memory; errors stay instead of being thrown.
struct Machine {
  cudaStream_t stream = nullptr;
  float *host = nullptr, *device = nullptr;
  static constexpr std::size_t bytes = 32 * sizeof(float);

  Machine() {
    reset();
    throw_on_error(false);
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaMallocHost(&host, bytes) == cudaSuccess);
    REQUIRE(cudaMalloc(&device, bytes) == cudaSuccess);
  }
  ~Machine() {
    run_late(false);
    reset();
    cudaStreamDestroy(stream);
    cudaFreeHost(host);
    cudaFree(device);
    throw_on_error(true);
  }
  [[nodiscard]] Call call() const {
    Call c;
    c.stream = stream;
    return c;
  }
  void launch_add(float v) const { launch(call(), add, dim3(1), dim3(32), 0, device, v); }
};

}  // namespace

TEST_CASE("device memory begins as NaN, and copies go where they say", "[cuda][emulation][runtime]") {
  Machine m;
  CHECK(reinterpret_cast<std::uintptr_t>(m.device) % 256 == 0);
  CHECK(device_bytes() == Machine::bytes);
  CHECK(m.device[5] != m.device[5]);
  std::vector<float> other(32, 2.f);
  const auto copy = [&](void* to, const void* from, cudaMemcpyKind kind) {
    const cudaError_t e = cudaMemcpyAsync(to, from, Machine::bytes, kind, m.stream);
    CHECK(cudaGetLastError() == e);
    return e;
  };
  CHECK(copy(m.device, other.data(), cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(copy(m.host, m.device, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(std::memcmp(m.host, other.data(), Machine::bytes) == 0);
  CHECK(copy(m.host, other.data(), cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(m.device, m.device, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(m.device, m.host, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(m.device + 1, m.host, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(m.device, other.data(), cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemsetAsync(m.device, 0, Machine::bytes, m.stream) == cudaSuccess);
  CHECK(cudaMemsetAsync(m.host, 0, 4, m.stream) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(m.host, m.device, Machine::bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(m.host[31] == 0.f);
  CHECK(cudaFree(m.host) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  void* huge = nullptr;
  CHECK(cudaMalloc(&huge, std::size_t{1} << 40) == cudaErrorMemoryAllocation);
}

TEST_CASE("a graph replays what was captured", "[cuda][emulation][runtime]") {
  Machine m;
  m.host[0] = 5.f;
  REQUIRE(cudaMemsetAsync(m.device, 0, Machine::bytes, m.stream) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(m.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureStatus status{};
  CHECK(cudaStreamIsCapturing(m.stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusActive);
  CHECK(cudaMemcpyAsync(m.device, m.host, Machine::bytes, cudaMemcpyHostToDevice, m.stream) == cudaSuccess);
  m.launch_add(1.f);
  m.launch_add(2.f);
  CHECK(cudaMemcpyAsync(m.host, m.device, Machine::bytes, cudaMemcpyDeviceToHost, m.stream) == cudaSuccess);
  CHECK(m.device[0] == 0.f);  // nothing has run
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamEndCapture(m.stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  for (int i = 1; i <= 3; ++i) {
    CHECK(cudaGraphLaunch(executable, m.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(m.stream) == cudaSuccess);
    CHECK(m.host[0] == 5.f + 3.f * static_cast<float>(i));
  }
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  CHECK(cudaGraphLaunch(executable, m.stream) == cudaErrorInvalidValue);
}

TEST_CASE("nodes of a graph run in any order that it allows", "[cuda][emulation][runtime]") {
  Machine m;
  REQUIRE(cudaStreamBeginCapture(m.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureStatus status{};
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* ends = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 9;
  const auto look = [&] {
    REQUIRE(cudaStreamGetCaptureInfo(m.stream, &status, nullptr, &graph, &ends, &edges, &count) == cudaSuccess);
  };
  look();
  CHECK(count == 0);
  // Adding 1 comes before or after the values are set to 7, as two branches.
  CHECK(cudaMemcpyAsync(m.device, m.host, Machine::bytes, cudaMemcpyHostToDevice, m.stream) == cudaSuccess);
  look();
  CHECK(count == 1);
  CHECK(cudaStreamUpdateCaptureDependencies(m.stream, nullptr, nullptr, 0, cudaStreamSetCaptureDependencies) ==
        cudaSuccess);
  m.launch_add(1.f);
  cudaGraphNode_t wrong = reinterpret_cast<cudaGraphNode_t>(&m);
  CHECK(cudaStreamUpdateCaptureDependencies(m.stream, &wrong, edges, 1, cudaStreamSetCaptureDependencies) ==
        cudaErrorInvalidValue);
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamEndCapture(m.stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  m.host[0] = 7.f;
  const auto left = [&](Schedule schedule) {
    set_schedule(schedule);
    CHECK(cudaGraphLaunch(executable, m.stream) == cudaSuccess);
    set_schedule(Schedule::forward);
    return m.device[0];
  };
  CHECK(left(Schedule::forward) == 8.f);
  CHECK(left(Schedule::reverse) == 7.f);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

TEST_CASE("what a capture does not allow invalidates it", "[cuda][emulation][runtime]") {
  Machine m;
  std::vector<float> pageable(32);
  void* p = nullptr;
  const auto refused = [&](cudaStreamCaptureMode mode, const auto& body) {
    REQUIRE(cudaStreamBeginCapture(m.stream, mode) == cudaSuccess);
    const cudaError_t e = body();
    cudaGraph_t graph = nullptr;
    const cudaError_t end = cudaStreamEndCapture(m.stream, &graph);
    CHECK((end == cudaErrorStreamCaptureInvalidated) == (e != cudaSuccess));
    CHECK((graph == nullptr) == (e != cudaSuccess));
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    return e == cudaErrorStreamCaptureUnsupported;
  };
  const auto global = cudaStreamCaptureModeGlobal, relaxed = cudaStreamCaptureModeRelaxed;
  CHECK(refused(global, [&] { return cudaMalloc(&p, 16); }));
  CHECK(refused(global, [&] { return cudaFree(m.device); }));
  CHECK(refused(global, [&] { return cudaStreamSynchronize(m.stream); }));
  CHECK(refused(relaxed, [&] { return cudaStreamSynchronize(m.stream); }));
  CHECK(refused(relaxed, [&] { return cudaDeviceSynchronize(); }));
  CHECK(refused(relaxed,
                [&] { return cudaMemcpyAsync(m.device, pageable.data(), 128, cudaMemcpyHostToDevice, m.stream); }));
  CHECK_FALSE(refused(relaxed, [&] { return cudaMalloc(&p, 16); }));
  CHECK(cudaFree(p) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(m.stream, &graph) == cudaErrorStreamCaptureUnmatched);
}

TEST_CASE("an error of a kernel stays", "[cuda][emulation][runtime]") {
  Machine m;
  launch(m.call(), returns_before_barrier, dim3(1), dim3(32), 0, m.device, 1.f);
  CHECK(says(last_error_text(), "thread 3 returned while thread 0 waits for it"));
  CHECK(cudaStreamSynchronize(m.stream) == cudaErrorLaunchFailure);
  CHECK(cudaMemsetAsync(m.device, 0, 4, m.stream) == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(std::string(cudaGetErrorName(cudaErrorLaunchFailure)) == "cudaErrorLaunchFailure");
  CHECK(std::string(cudaGetErrorString(cudaErrorLaunchFailure)) == "unspecified launch failure");
  reset();
  CHECK(cudaStreamSynchronize(m.stream) == cudaSuccess);
}

TEST_CASE("an impossible launch is an error once", "[cuda][emulation][runtime]") {
  Machine m;
  launch(m.call(), add, dim3(1), dim3(2000), 0, m.device, 1.f);
  CHECK(cudaPeekAtLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(says(last_error_text(), "over 1024 threads"));
}

#ifndef __SANITIZE_ADDRESS__  // which stops the program
TEST_CASE("writes beside device memory are found", "[cuda][emulation][runtime]") {
  Machine m;
  throw_on_error(true);
  for (std::int64_t i : {-1, 32}) {
    const std::string error = error_of([&] { launch(m.call(), write_at, dim3(1), dim3(1), 0, m.device, i); });
    CHECK(says(error, "a kernel wrote beside an allocation of 128 bytes of device memory"));
  }
  CHECK(error_of([&] { launch(m.call(), write_at, dim3(1), dim3(1), 0, m.device, 31); }).empty());
}
#endif

TEST_CASE("calls are recorded, and errors can be injected", "[cuda][emulation][runtime]") {
  Machine m;
  clear_calls();
  m.launch_add(1.f);
  cudaMemcpyAsync(m.host, m.device, 64, cudaMemcpyDeviceToHost, m.stream);
  CHECK(calls() ==
        std::vector<std::string>{"launch(grid 1x1x1, block 32x1x1, shared 0)", "cudaMemcpyAsync(64, DeviceToHost)"});
  void* p = nullptr;
  fail_next("cudaMalloc", cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&p, 16) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  m.device[0] = 0.f;
  fail_next("launch", cudaErrorNoKernelImageForDevice);
  cudaGetLastError();
  m.launch_add(1.f);
  CHECK(m.device[0] == 0.f);
  CHECK(cudaGetLastError() == cudaErrorNoKernelImageForDevice);
  int count = 0;
  fail_next("cudaGetDeviceCount", cudaErrorNoDevice);
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
}

TEST_CASE("the device, events and handles", "[cuda][emulation][runtime]") {
  Machine m;
  int count = 0, version = 0;
  CHECK((cudaGetDeviceCount(&count) == cudaSuccess && count == 1));
  CHECK((cudaRuntimeGetVersion(&version) == cudaSuccess && version == 13000));
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  cudaDeviceProp properties{};
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK((std::string(properties.name) == "emulated GPU" && properties.major == 9));
  cudaEvent_t from = nullptr, to = nullptr;
  CHECK((cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess));
  float milliseconds = -1.f;
  CHECK(cudaEventElapsedTime(&milliseconds, from, to) == cudaErrorInvalidResourceHandle);
  CHECK((cudaEventRecord(from, m.stream) == cudaSuccess && cudaEventRecord(to, m.stream) == cudaSuccess));
  CHECK((cudaEventSynchronize(to) == cudaSuccess && cudaEventElapsedTime(&milliseconds, from, to) == cudaSuccess));
  CHECK(milliseconds >= 0.f);
  CHECK((cudaEventDestroy(from) == cudaSuccess && cudaEventDestroy(to) == cudaSuccess));
  CHECK(cudaEventRecord(from, m.stream) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("late streams show a missing synchronisation", "[cuda][emulation][runtime]") {
  Machine m;
  run_late(true);
  m.host[0] = 1.f;
  CHECK(cudaMemcpyAsync(m.device, m.host, Machine::bytes, cudaMemcpyHostToDevice, m.stream) == cudaSuccess);
  m.launch_add(1.f);
  CHECK(cudaMemcpyAsync(m.host, m.device, Machine::bytes, cudaMemcpyDeviceToHost, m.stream) == cudaSuccess);
  cudaEvent_t event = nullptr;
  CHECK((cudaEventCreate(&event) == cudaSuccess && cudaEventRecord(event, m.stream) == cudaSuccess));
  float milliseconds = 0.f;
  CHECK(cudaEventElapsedTime(&milliseconds, event, event) == cudaErrorNotReady);
  CHECK(m.host[0] == 1.f);  // what a program that does not wait sees
  m.host[0] = 7.f;          // and what it spoils
  CHECK(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, event, event) == cudaSuccess);
  CHECK(m.host[0] == 8.f);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  std::vector<float> pageable(32, 3.f);
  CHECK(cudaMemcpyAsync(m.device, pageable.data(), Machine::bytes, cudaMemcpyHostToDevice, m.stream) == cudaSuccess);
  pageable[0] = 9.f;
  m.launch_add(1.f);
  CHECK(cudaMemcpyAsync(pageable.data(), m.device, Machine::bytes, cudaMemcpyDeviceToHost, m.stream) == cudaSuccess);
  CHECK(pageable[0] == 4.f);
  launch(m.call(), returns_before_barrier, dim3(1), dim3(32), 0, m.device, 1.f);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(cudaStreamSynchronize(m.stream) == cudaErrorLaunchFailure);
}
