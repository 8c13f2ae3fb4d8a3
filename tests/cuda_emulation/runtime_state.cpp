// Errors, recorded calls and what a stream does with its work.
#include "tests/cuda_emulation/runtime_state.hpp"

#include <utility>

#include "tests/cuda_emulation/engine.hpp"

void CUgraph_st::add(std::function<void()> work) {
  nodes.push_back(std::make_unique<CUgraphNode_st>(CUgraphNode_st{std::move(work), ends, nodes.size()}));
  ends = {nodes.back().get()};
  end_edges.assign(1, {});
}

namespace tenon::cuda::emulation {

Runtime& Runtime::instance() {
  static Runtime r;
  return r;
}

bool Runtime::inside(const std::map<const unsigned char*, std::size_t>& ranges, const void* p, std::size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(p);
  auto it = ranges.upper_bound(at);
  if (it == ranges.begin()) return false;
  --it;
  return at + bytes <= it->first + it->second;
}

cudaError_t Runtime::invalidate(CUstream_st& s) {
  s.invalidated = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t Runtime::refuse_in_capture() {
  cudaError_t result = cudaSuccess;
  for (cudaStream_t s : streams) {
    const bool concerns = s->mode == cudaStreamCaptureModeGlobal ||
                          (s->mode == cudaStreamCaptureModeThreadLocal && s->owner == std::this_thread::get_id());
    if (s->graph != nullptr && concerns) result = invalidate(*s);
  }
  return result;
}

cudaError_t Runtime::check_stream(cudaStream_t stream) {
  if (stream != nullptr) {
    if (!streams.contains(stream)) return cudaErrorInvalidResourceHandle;
    return stream->graph != nullptr && stream->invalidated ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
  }
  cudaError_t result = cudaSuccess;
  for (cudaStream_t s : streams)
    if (s->graph != nullptr && s->flags != cudaStreamNonBlocking) {
      invalidate(*s);
      result = cudaErrorStreamCaptureImplicit;
    }
  return result;
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}
cudaError_t remembered(cudaError_t e) {
  if (e != cudaSuccess && e != cudaErrorNotReady) last_error() = e;
  return e;
}

cudaError_t enter(Runtime& r, const char* name, const std::string& arguments) {
  if (r.recording) r.calls.push_back(std::string(name) + "(" + arguments + ")");
  if (const auto it = r.injected.find(std::string_view(name)); it != r.injected.end()) {
    const cudaError_t e = it->second;
    r.injected.erase(it);
    return e;
  }
  return r.sticky;
}

cudaError_t submit(const char* name, const std::string& arguments, cudaStream_t stream,
                   const std::function<cudaError_t(Runtime&, bool)>& check, std::function<void()> work) {
  Runtime& r = Runtime::instance();
  {
    const std::lock_guard lock(r.mutex);
    if (const cudaError_t e = enter(r, name, arguments); e != cudaSuccess) return remembered(e);
    if (const cudaError_t e = r.check_stream(stream); e != cudaSuccess) return remembered(e);
    const bool captures = stream != nullptr && stream->graph != nullptr;
    if (const cudaError_t e = check(r, captures); e != cudaSuccess) {
      if (captures) r.invalidate(*stream);
      return remembered(e);
    }
    if (captures) {
      stream->graph->add(std::move(work));
      return cudaSuccess;
    }
    if (r.late && stream != nullptr) {
      stream->late.push_back(std::move(work));
      return cudaSuccess;
    }
  }
  const cudaError_t e = drain(stream);
  return e != cudaSuccess ? e : remembered(run_now(work));
}

namespace {
/// Takes the work of the streams that `wanted` names, and runs it up to the first error.
template <class Wanted>
cudaError_t drain_streams(const Wanted& wanted) {
  Runtime& r = Runtime::instance();
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(r.mutex);
    for (cudaStream_t s : r.streams)
      if (wanted(s)) {
        work.insert(work.end(), s->late.begin(), s->late.end());
        s->late.clear();
      }
  }
  for (const auto& w : work)
    if (const cudaError_t e = run_now(w); e != cudaSuccess) return remembered(e);
  return cudaSuccess;
}
}  // namespace

cudaError_t drain(cudaStream_t stream) {
  return drain_streams(
      [&](cudaStream_t s) { return stream != nullptr ? s == stream : s->flags != cudaStreamNonBlocking; });
}
cudaError_t drain_all() {
  return drain_streams([](cudaStream_t) { return true; });
}

cudaError_t run_now(const std::function<void()>& work) {
  try {
    work();
    return cudaSuccess;
  } catch (const EmulationError& e) {
    Runtime& r = Runtime::instance();
    const std::lock_guard lock(r.mutex);
    r.error_text = e.what();
    if (r.throws) throw;
    return r.sticky = cudaErrorLaunchFailure;
  }
}

void throw_on_error(bool on) {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  r.throws = on;
}
void run_late(bool on) {
  drain_all();
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  r.late = on;
}
std::string last_error_text() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  return r.error_text;
}
void reset() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  r.sticky = last_error() = cudaSuccess;
  r.error_text.clear();
  r.injected.clear();
  r.calls.clear();
  r.recording = false;
}
std::vector<std::string> calls() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  return r.calls;
}
void clear_calls() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  r.calls.clear();
  r.recording = true;
}
void fail_next(std::string_view name, cudaError_t e) {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  r.injected[std::string(name)] = e;
}
std::size_t device_bytes() {
  Runtime& r = Runtime::instance();
  const std::lock_guard lock(r.mutex);
  std::size_t sum = 0;
  for (const auto& [start, bytes] : r.device) sum += bytes;
  return sum;
}

}  // namespace tenon::cuda::emulation
