// What the module keeps of an open device.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/pieces.hpp"

namespace tenon::cuda {

struct Libraries;  // handles of cuDNN and cuBLAS

struct Device {
  std::int32_t ordinal = 0;
  cudaStream_t stream = nullptr;
  Libraries* libraries = nullptr;  // opened when their rows are asked for
  Pieces pieces = {};              // of what the stream captures
};

}  // namespace tenon::cuda
