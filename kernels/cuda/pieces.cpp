#include "kernels/cuda/pieces.hpp"

namespace tenon::cuda {

cudaError_t Pieces::read(cudaStream_t stream, Ends* ends) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* nodes = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, &nodes, &edges, &count);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v3(stream, &status, nullptr, &graph, &nodes, &edges, &count);
#endif
  if (error != cudaSuccess) return error;
  if (status != cudaStreamCaptureStatusActive) return cudaErrorStreamCaptureInvalidated;
  ends->nodes.assign(nodes, nodes + count);
  if (edges != nullptr)
    ends->edges.assign(edges, edges + count);
  else
    ends->edges.assign(count, cudaGraphEdgeData{});
  return cudaSuccess;
}

cudaError_t Pieces::set(cudaStream_t stream, Ends& ends) {
  const auto flags = static_cast<unsigned>(cudaStreamSetCaptureDependencies);
#if CUDART_VERSION >= 13000
  return cudaStreamUpdateCaptureDependencies(stream, ends.nodes.data(), ends.edges.data(), ends.nodes.size(), flags);
#else
  return cudaStreamUpdateCaptureDependencies_v2(stream, ends.nodes.data(), ends.edges.data(), ends.nodes.size(), flags);
#endif
}

/// A node twice would be an error.
void Pieces::Ends::add(const Ends& other) {
  for (std::size_t i = 0; i < other.nodes.size(); ++i) {
    bool there = false;
    for (const cudaGraphNode_t n : nodes) there = there || n == other.nodes[i];
    if (there) continue;
    nodes.push_back(other.nodes[i]);
    edges.push_back(other.edges[i]);
  }
}

cudaError_t Pieces::begin(cudaStream_t stream, const std::int32_t* after, std::int32_t count) {
  Ends last;
  if (const cudaError_t e = read(stream, &last); e != cudaSuccess) return e;
  if (begun_)
    ends_.push_back(last);
  else
    before_ = last;
  begun_ = true;
  Ends all;
  for (std::int32_t i = 0; i < count; ++i) {
    if (after[i] < 0 || static_cast<std::size_t>(after[i]) >= ends_.size()) return cudaErrorInvalidValue;
    all.add(ends_[static_cast<std::size_t>(after[i])]);
  }
  if (count == 0) all = before_;
  return set(stream, all);
}

}  // namespace tenon::cuda
