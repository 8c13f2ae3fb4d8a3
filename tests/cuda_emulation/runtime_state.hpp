// What the files of the runtime share: allocations, streams, captures, errors, and the way into every call.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/cuda_emulation/emulation.hpp"
#include "tests/cuda_emulation/launch.hpp"

struct CUgraphNode_st {
  std::function<void()> work;
  std::vector<CUgraphNode_st*> after;  // the nodes that it waits for
  std::size_t number = 0;              // in its graph
};
struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
  // While a stream captures: what its next node will wait for.
  std::vector<CUgraphNode_st*> ends;
  std::vector<cudaGraphEdgeData> end_edges;

  void add(std::function<void()> work);
};
struct CUgraphExec_st {
  struct Node {
    std::function<void()> work;
    std::vector<std::size_t> after;
  };
  std::shared_ptr<const std::vector<Node>> nodes;
};
struct CUstream_st {
  unsigned flags = 0;
  CUgraph_st* graph = nullptr;  // while it captures
  cudaStreamCaptureMode mode{};
  std::thread::id owner;  // who began to capture
  bool invalidated = false;
  std::vector<std::function<void()>> late;  // work put off
};

namespace tenon::cuda::emulation {

struct Runtime {
  std::mutex mutex;
  cudaError_t sticky = cudaSuccess;
  std::string error_text;
  bool throws = true;
  bool recording = false;
  bool late = false;
  std::vector<std::string> calls;
  std::map<std::string, cudaError_t, std::less<>> injected;
  std::map<const unsigned char*, std::size_t> device, pinned;  // start and size
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  std::set<cudaGraph_t> graphs;
  std::set<cudaGraphExec_t> executables;
  std::map<const void*, int> shared_limits;  // of kernels

  static Runtime& instance();
  /// Whether [p, p + bytes) lies in one of the ranges.
  static bool inside(const std::map<const unsigned char*, std::size_t>&, const void* p, std::size_t bytes);
  /// For calls that a capture does not allow: they invalidate it.
  cudaError_t refuse_in_capture();
  cudaError_t invalidate(CUstream_st&);
  /// Whether work may be given to the stream; null is the legacy stream, which disturbs captures of blocking streams.
  cudaError_t check_stream(cudaStream_t);
};

/// The last error of this OS thread.
cudaError_t& last_error();
cudaError_t remembered(cudaError_t);
/// Records the call; an injected or a sticky error instead of cudaSuccess. The mutex is held.
cudaError_t enter(Runtime&, const char* name, const std::string& arguments);

/// A call that needs no more than the runtime's state.
template <class Body>
cudaError_t api(const char* name, const std::string& arguments, const Body& body) {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  if (const cudaError_t e = enter(r, name, arguments); e != cudaSuccess) return remembered(e);
  return remembered(body(r));
}

/// A call that gives `work` to a stream, if check(runtime, whether it captures) finds nothing wrong.
cudaError_t submit(const char* name, const std::string& arguments, cudaStream_t,
                   const std::function<cudaError_t(Runtime&, bool captures)>& check, std::function<void()> work);
/// Runs what the stream put off; null: the blocking streams, for which the legacy stream waits.
cudaError_t drain(cudaStream_t);
cudaError_t drain_all();
/// Runs work with the mutex free. An error of a kernel is thrown or stays.
cudaError_t run_now(const std::function<void()>& work);

}  // namespace tenon::cuda::emulation
