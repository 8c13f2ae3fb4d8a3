// cuDNN and cuBLAS as a device has them: opened at run time, a handle of each, and what went wrong in a run. Nothing here throws:
// the module's interface lets nothing through.
#pragma once
#include <cstdint>
#include <mutex>
#include <new>

#include "kernels/cuda/libraries_api.hpp"
#include "kernels/cuda/module.hpp"

namespace tenon::cuda {

struct Libraries {
  static constexpr int most_rows = 32;

  std::int32_t ordinal = 0;
  bool has_dnn = false, has_blas = false;
  cudnn::Functions dnn;
  cublas::Functions blas;
  // Made by the first row that is bound: they take memory on the device. A handle serves one thread at a time, and a row may be
  // bound while another runs: both hold the mutex.
  std::mutex mutex;
  cudnn::Handle dnn_handle = nullptr;
  cublas::Handle blas_handle = nullptr;

  LibraryRow rows[most_rows] = {};
  std::int32_t row_count = 0;
  Text missing;

  bool failed = false;  // a run did, and nobody has asked since
  Text failure;

  /// For runs, which have no result: false, and remembered, where the call failed.
  bool ran(cudnn::Status, const char* call);
  bool ran(cublas::Status, const char* call);
};

/// Opens what is installed and says in `missing` what is not. Null where the host has no memory.
[[nodiscard]] Libraries* open_libraries(std::int32_t ordinal);
void close_libraries(Libraries*);

/// The device's handles, made where they are not yet. False and why, where that fails.
[[nodiscard]] bool have_handles(Libraries&, bool dnn, bool blas, Text* why);

/// Writes a reason, as snprintf; false, so that a binding function can return it.
__attribute__((format(printf, 2, 3))) bool refuse(Text* why, const char* format, ...);

/// A descriptor of cuDNN, destroyed with its owner. The library stays open until the process ends, so that an owner may outlive
/// its device.
template <class Handle>
class Descriptor {
 public:
  using Create = cudnn::Status (*)(Handle*);
  using Destroy = cudnn::Status (*)(Handle);

  Descriptor() = default;
  ~Descriptor() {
    if (handle_ != nullptr) (void)destroy_(handle_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  /// Makes it, and sets it by set(handle, values...).
  template <class Set, class... Values>
  cudnn::Status make(Create create, Destroy destroy, Set set, Values... values) {
    destroy_ = destroy;
    if (const cudnn::Status s = create(&handle_); s != cudnn::Status::success) {
      handle_ = nullptr;
      return s;
    }
    return set(handle_, values...);
  }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

/// The image (n, h, w, c).
cudnn::Status make_tensor(const Libraries&, Descriptor<cudnn::Tensor>&, std::int64_t n, std::int64_t h, std::int64_t w,
                          std::int64_t c);

/// The first call of a binding that failed.
class Calls {
 public:
  Calls(const Libraries& l, Text* why) : libraries_(l), why_(why) {}
  /// False where this call failed, or one before it.
  bool add(cudnn::Status s, const char* call) {
    if (ok_ && s != cudnn::Status::success) ok_ = refuse(why_, "%s: %s", call, libraries_.dnn.GetErrorString(s));
    return ok_;
  }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  const Libraries& libraries_;
  Text* why_;
  bool ok_ = true;
};

/// Hands a state to the core.
template <class State>
void give(LibraryStep* step, State* state, RunFn run, std::size_t workspace) {
  *step = {run, state, [](void* s) { delete static_cast<State*>(s); }, workspace};
}

/// Extent of an axis. The members of Shape that throw are not part of the module.
inline std::int64_t extent(const TensorSpec& spec, int axis) {
  return spec.shape.extents()[static_cast<std::size_t>(axis < 0 ? axis + spec.shape.rank() : axis)];
}
/// Product of the extents of axes [first, last).
inline std::int64_t extents(const TensorSpec& spec, int first, int last) {
  std::int64_t n = 1;
  for (int axis = first; axis < last; ++axis) n *= extent(spec, axis);
  return n;
}
/// What both libraries ask of every operand: f32, something in it, and sizes that an int counts. False and why.
[[nodiscard]] bool takes_operands(const Problem&, Text* why);

/// Pieces of a workspace begin at such addresses; the plan's are 64-byte aligned.
inline constexpr std::size_t piece_alignment = 256;
constexpr std::size_t rounded_up(std::size_t bytes) {
  return (bytes + piece_alignment - 1) / piece_alignment * piece_alignment;
}
/// Where the first piece begins; so much more than its pieces a workspace has to have.
inline constexpr std::size_t workspace_slack = piece_alignment - 64;
inline std::byte* first_piece(const Call& call) {
  const auto address = reinterpret_cast<std::uintptr_t>(call.workspace);
  return static_cast<std::byte*>(call.workspace) + (rounded_up(address) - address);
}
inline CUstream_st* stream_of(const Call& call) { return static_cast<CUstream_st*>(call.stream); }

inline constexpr float one = 1.f, zero = 0.f;

}  // namespace tenon::cuda
