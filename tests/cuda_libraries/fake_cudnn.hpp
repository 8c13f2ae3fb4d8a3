// The descriptors of the fake cuDNN.
#pragma once
#include "tests/cuda_libraries/fake.hpp"

namespace tenon::cuda::cudnn {

struct HandleTag {
  Stream stream = nullptr;
};
/// Of an image in memory (n, h, w, c); of a filter in memory (n, h, w, c) too, n the outputs.
struct Extents {
  int n = 0, c = 0, h = 0, w = 0;
  [[nodiscard]] std::int64_t elements() const { return std::int64_t{n} * c * h * w; }
  [[nodiscard]] std::int64_t at(int in, int ih, int iw, int ic) const {
    return ((std::int64_t{in} * h + ih) * w + iw) * c + ic;
  }
  bool operator==(const Extents&) const = default;
};
struct TensorTag {
  bool set = false;
  Extents e;
};
struct FilterTag {
  bool set = false;
  Extents e;
};
struct ConvolutionTag {
  bool set = false;
  int pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0, dilation_h = 0, dilation_w = 0, groups = 1;
  MathType math = MathType::default_math;
};
struct PoolingTag {
  bool set = false;
  int window_h = 0, window_w = 0, pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0;
};
struct ActivationTag {
  bool set = false;
  ActivationMode mode = ActivationMode::relu;
  double coefficient = 0;
};
struct TensorOpTag {
  bool set = false;
};

}  // namespace tenon::cuda::cudnn

namespace tenon::fake {

inline constexpr cuda::cudnn::Status failed{5000}, bad{2000}, unsupported{3000};

Fake& cudnn();

/// A call begins: it fails where the test says so.
#define TENON_ENTER(name) \
  if (tenon::fake::cudnn().enter(name)) return tenon::fake::failed

template <class Tag>
Tag& used(Tag* descriptor, const char* where) {
  static Tag nothing;
  if (!cudnn().live.contains(descriptor)) {
    cudnn().fault(std::string(where) + ": no such descriptor");
    return nothing;
  }
  if (!descriptor->set) cudnn().fault(std::string(where) + ": a descriptor that was not set");
  return *descriptor;
}
/// Work of a handle, with factors 1 and 0.
void check_work(cuda::cudnn::Handle, const void* alpha, const void* beta, const char* where);
template <class Tag>
cuda::cudnn::Status create(const char* name, Tag** descriptor) {
  TENON_ENTER(name);
  *descriptor = new Tag;
  cudnn().live.insert(*descriptor);
  return cuda::cudnn::Status::success;
}
template <class Tag>
cuda::cudnn::Status destroy(const char* name, Tag* descriptor) {
  if (cudnn().live.erase(descriptor) == 0)
    cudnn().fault(std::string(name) + ": destroyed twice");
  else
    delete descriptor;
  TENON_ENTER(name);
  return cuda::cudnn::Status::success;
}

}  // namespace tenon::fake
