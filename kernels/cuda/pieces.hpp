// Pieces of a recording: which nodes of the graph that a stream captures are the ends of which piece, so that others can wait for
// them and run beside the rest.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

namespace tenon::cuda {

class Pieces {
 public:
  void clear() { *this = {}; }
  /// What the stream captures from here on waits for the pieces named, by the numbers of these calls from 0 on. What it captured
  /// before the first call is a piece that all others wait for.
  cudaError_t begin(cudaStream_t, const std::int32_t* after, std::int32_t count);

 private:
  /// The nodes that the stream's next one would wait for.
  struct Ends {
    std::vector<cudaGraphNode_t> nodes;
    std::vector<cudaGraphEdgeData> edges;
    void add(const Ends&);
  };
  static cudaError_t read(cudaStream_t, Ends*);
  static cudaError_t set(cudaStream_t, Ends&);

  bool begun_ = false;
  Ends before_;
  std::vector<Ends> ends_;
};

}  // namespace tenon::cuda
