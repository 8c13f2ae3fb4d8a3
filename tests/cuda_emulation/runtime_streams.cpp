// Streams, events, captures and graphs; and launches, which are work of a stream like copies.
#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "tests/cuda_emulation/engine.hpp"
#include "tests/cuda_emulation/order_of_threads.hpp"
#include "tests/cuda_emulation/runtime_memory.hpp"
#include "tests/cuda_emulation/runtime_state.hpp"

using namespace tenon::cuda::emulation;

struct CUevent_st {
  /// Work that was put off fills in the time after the event may be gone.
  struct Moment {
    std::chrono::steady_clock::time_point time;
    bool reached = false;
  };
  std::shared_ptr<Moment> moment;  // null: not recorded
  cudaStream_t stream = nullptr;
  bool captured = false;
};

namespace tenon::cuda::emulation {
namespace {

std::string text(const dim3& d) { return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z); }

/// What is wrong with a launch; empty: nothing.
std::string refusal(Runtime& r, const Launch& l) {
  const std::string grid = "grid " + text(l.grid), block = "block " + text(l.block);
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return grid + " has no blocks";
  if (l.grid.x > 0x7fffffffu || l.grid.y > 65535 || l.grid.z > 65535) return grid + " is over 2147483647x65535x65535";
  if (l.block.x == 0 || l.block.y == 0 || l.block.z == 0) return block + " has no threads";
  if (l.block.x > max_threads || l.block.y > max_threads || l.block.z > 64 ||
      std::uint64_t{l.block.x} * l.block.y * l.block.z > max_threads)
    return block + " is over 1024 threads (64 in z)";
  const auto it = r.shared_limits.find(l.kernel);
  const std::size_t limit = it == r.shared_limits.end() ? default_shared : static_cast<std::size_t>(it->second);
  if (l.shared_bytes > max_shared)
    return std::to_string(l.shared_bytes) + " bytes of shared memory are over " + std::to_string(max_shared);
  if (l.shared_bytes > limit)
    return std::to_string(l.shared_bytes) + " bytes of shared memory are over the kernel's limit of " +
           std::to_string(limit) + ", which cudaFuncSetAttribute raises";
  return "";
}

/// Nodes in an order that the graph allows: as they were captured, or as the schedule shuffles blocks.
std::vector<std::size_t> order_of(const std::vector<CUgraphExec_st::Node>& nodes) {
  const ScheduleChoice choice = next_schedule();
  std::vector<std::size_t> waits(nodes.size()), ready, order;
  std::vector<std::vector<std::size_t>> then(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    waits[i] = nodes[i].after.size();
    for (const std::size_t before : nodes[i].after) then[before].push_back(i);
    if (waits[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    std::ranges::sort(ready);
    // Every choice is the first of what is ready, in the schedule's order.
    const auto at = ready.begin() + static_cast<std::ptrdiff_t>(
                                        block_at({choice.schedule, choice.seed + order.size()}, 0, ready.size()));
    order.push_back(*at);
    ready.erase(at);
    for (const std::size_t next : then[order.back()])
      if (--waits[next] == 0) ready.push_back(next);
  }
  return order;
}

}  // namespace

void start(const Launch& launch, cudaStream_t stream) {
  std::string wrong;
  submit(
      "launch",
      "grid " + text(launch.grid) + ", block " + text(launch.block) + ", shared " + std::to_string(launch.shared_bytes),
      stream,
      [&](Runtime& r, bool) {
        wrong = refusal(r, launch);
        if (!wrong.empty()) r.error_text = "launch: " + wrong;
        return wrong.empty() ? cudaSuccess : cudaErrorInvalidConfiguration;
      },
      [launch] {
        Engine::here().run(launch);
        check_guards();
      });
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  if (!wrong.empty() && r.throws) throw EmulationError("launch: " + wrong);
}

}  // namespace tenon::cuda::emulation

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return api("cudaStreamCreateWithFlags", std::to_string(flags), [&](Runtime& r) {
    if (stream == nullptr || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = new CUstream_st;
    (*stream)->flags = flags;
    r.streams.insert(*stream);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (const cudaError_t e = drain(stream); stream != nullptr && e != cudaSuccess) return e;
  return api("cudaStreamDestroy", "", [&](Runtime& r) {
    if (r.streams.erase(stream) == 0) return cudaErrorInvalidResourceHandle;
    delete stream->graph;
    delete stream;
    return cudaSuccess;
  });
}
namespace {
cudaError_t synchronised(Runtime& r, cudaStream_t stream) {
  if (const cudaError_t e = r.check_stream(stream); e != cudaSuccess) return e;
  return stream != nullptr && stream->graph != nullptr ? r.invalidate(*stream) : cudaSuccess;
}
}  // namespace
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cudaError_t e = api("cudaStreamSynchronize", "", [&](Runtime& r) { return synchronised(r, stream); });
  return e != cudaSuccess ? e : drain(stream);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const cudaError_t e = api("cudaStreamQuery", "", [&](Runtime& r) { return synchronised(r, stream); });
  return e != cudaSuccess ? e : drain(stream);  // who asks again and again would find it done
}
cudaError_t cudaDeviceSynchronize() {
  const cudaError_t e = api("cudaDeviceSynchronize", "", [&](Runtime& r) {
    cudaError_t result = cudaSuccess;
    for (cudaStream_t s : r.streams)
      if (s->graph != nullptr) result = r.invalidate(*s);
    return result;
  });
  return e != cudaSuccess ? e : drain_all();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return api("cudaEventCreateWithFlags", std::to_string(flags), [&](Runtime& r) {
    if (event == nullptr) return cudaErrorInvalidValue;
    *event = new CUevent_st;
    r.events.insert(*event);
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api("cudaEventRecord", "", [&](Runtime& r) {
    if (!r.events.contains(event)) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t e = r.check_stream(stream); e != cudaSuccess) return e;
    event->captured = stream != nullptr && stream->graph != nullptr;
    event->stream = stream;
    event->moment = std::make_shared<CUevent_st::Moment>();
    const auto reach = [moment = event->moment] { *moment = {std::chrono::steady_clock::now(), true}; };
    if (r.late && stream != nullptr && !event->captured)
      stream->late.emplace_back(reach);
    else
      reach();
    return cudaSuccess;
  });
}
namespace {
cudaError_t usable(const Runtime& r, cudaEvent_t event) {
  if (!r.events.contains(event)) return cudaErrorInvalidResourceHandle;
  return event->captured ? cudaErrorCapturedEvent : cudaSuccess;
}
}  // namespace
namespace {
cudaError_t reached(const char* name, cudaEvent_t event) {
  cudaStream_t stream = nullptr;
  bool waits = false;
  const cudaError_t e = api(name, "", [&](Runtime& r) {
    if (const cudaError_t wrong = usable(r, event); wrong != cudaSuccess) return wrong;
    stream = event->stream;
    waits = event->moment != nullptr && !event->moment->reached;
    return cudaSuccess;
  });
  return e == cudaSuccess && waits ? drain(stream) : e;
}
}  // namespace
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return reached("cudaEventSynchronize", event); }
cudaError_t cudaEventQuery(cudaEvent_t event) { return reached("cudaEventQuery", event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return api("cudaEventElapsedTime", "", [&](Runtime& r) {
    for (cudaEvent_t e : {from, to}) {
      if (const cudaError_t wrong = usable(r, e); wrong != cudaSuccess) return wrong;
      if (e->moment == nullptr) return cudaErrorInvalidResourceHandle;
      if (!e->moment->reached) return cudaErrorNotReady;
    }
    *milliseconds = std::chrono::duration<float, std::milli>(to->moment->time - from->moment->time).count();
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api("cudaEventDestroy", "", [&](Runtime& r) {
    if (r.events.erase(event) == 0) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return api("cudaStreamBeginCapture", std::to_string(mode), [&](Runtime& r) {
    if (stream == nullptr) return cudaErrorStreamCaptureUnsupported;
    if (!r.streams.contains(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->graph != nullptr) return cudaErrorInvalidValue;
    stream->graph = new CUgraph_st;
    stream->mode = mode;
    stream->owner = std::this_thread::get_id();
    stream->invalidated = false;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return api("cudaStreamEndCapture", "", [&](Runtime& r) {
    if (graph == nullptr) return cudaErrorInvalidValue;
    *graph = nullptr;
    if (!r.streams.contains(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->graph == nullptr) return cudaErrorStreamCaptureUnmatched;
    std::unique_ptr<CUgraph_st> captured(std::exchange(stream->graph, nullptr));
    if (stream->invalidated) return cudaErrorStreamCaptureInvalidated;
    *graph = captured.release();
    r.graphs.insert(*graph);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return api("cudaStreamIsCapturing", "", [&](Runtime& r) {
    if (status == nullptr) return cudaErrorInvalidValue;
    if (stream != nullptr && !r.streams.contains(stream)) return cudaErrorInvalidResourceHandle;
    const bool captures = stream != nullptr && stream->graph != nullptr;
    *status = !captures             ? cudaStreamCaptureStatusNone
              : stream->invalidated ? cudaStreamCaptureStatusInvalidated
                                    : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, std::size_t* count) {
  if (const cudaError_t e = cudaStreamIsCapturing(stream, status); e != cudaSuccess) return e;
  return api("cudaStreamGetCaptureInfo", "", [&](Runtime&) {
    if (*status != cudaStreamCaptureStatusActive) return cudaSuccess;
    if (id != nullptr) *id = 1;
    if (graph != nullptr) *graph = stream->graph;
    if (dependencies != nullptr) *dependencies = stream->graph->ends.data();
    if (edges != nullptr) *edges = stream->graph->end_edges.data();
    if (count != nullptr) *count = stream->graph->ends.size();
    return cudaSuccess;
  });
}
cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t* dependencies,
                                                const cudaGraphEdgeData* edges, std::size_t count, unsigned flags) {
  return api("cudaStreamUpdateCaptureDependencies", std::to_string(count), [&](Runtime& r) {
    if (const cudaError_t e = r.check_stream(stream); e != cudaSuccess) return e;
    if (stream == nullptr || stream->graph == nullptr) return cudaErrorInvalidValue;
    CUgraph_st& g = *stream->graph;
    const std::set<cudaGraphNode_t> named(dependencies, dependencies + count);
    const auto in_graph = [&](cudaGraphNode_t n) {
      return std::ranges::any_of(g.nodes, [&](const auto& own) { return own.get() == n; });
    };
    if (flags != cudaStreamSetCaptureDependencies || named.size() != count || !std::ranges::all_of(named, in_graph))
      return cudaErrorInvalidValue;
    g.ends.assign(dependencies, dependencies + count);
    g.end_edges.assign(edges, edges + count);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  return api("cudaGraphInstantiate", std::to_string(flags), [&](Runtime& r) {
    if (executable == nullptr || !r.graphs.contains(graph)) return cudaErrorInvalidValue;
    std::vector<CUgraphExec_st::Node> nodes;
    for (const auto& node : graph->nodes) {
      nodes.push_back({node->work, {}});
      for (const CUgraphNode_st* before : node->after) nodes.back().after.push_back(before->number);
    }
    *executable = new CUgraphExec_st{std::make_shared<const std::vector<CUgraphExec_st::Node>>(std::move(nodes))};
    r.executables.insert(*executable);
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  auto nodes = std::make_shared<decltype(CUgraphExec_st::nodes)>();
  return submit(
      "cudaGraphLaunch", "", stream,
      [&](Runtime& r, bool captures) {
        if (!r.executables.contains(executable)) return cudaErrorInvalidValue;
        *nodes = executable->nodes;
        return captures ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
      },
      [nodes] {
        for (const std::size_t i : order_of(**nodes)) (**nodes)[i].work();
      });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return api("cudaGraphExecDestroy", "", [&](Runtime& r) {
    if (r.executables.erase(executable) == 0) return cudaErrorInvalidValue;
    delete executable;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api("cudaGraphDestroy", "", [&](Runtime& r) {
    if (r.graphs.erase(graph) == 0) return cudaErrorInvalidValue;
    delete graph;
    return cudaSuccess;
  });
}
