// The part of cuDNN's and cuBLAS' C interfaces that the rows use: types, numbers and signatures of two public ABIs. Declared here
// and not taken from NVIDIA's headers, so that the module is the same with and without them, and so that its emulation can include
// its own <cuda_runtime.h>. Where the headers are there, libraries_abi_check.cpp compares every line of this with them.
#pragma once
#include <cstddef>

struct CUstream_st;

namespace tenon::cuda {

namespace cudnn {

using Handle = struct HandleTag*;
using Tensor = struct TensorTag*;
using Filter = struct FilterTag*;
using Convolution = struct ConvolutionTag*;
using Pooling = struct PoolingTag*;
using Activation = struct ActivationTag*;
using TensorOp = struct TensorOpTag*;
using Stream = CUstream_st*;

enum class Status : int { success = 0 };
enum class DataType : int { f32 = 0 };
enum class Format : int { nhwc = 1 };
/// tensor_op: may use tensor cores on f32, in TF32. default_math: the same since Ampere. fma: FMA instructions only.
enum class MathType : int { default_math = 0, tensor_op = 1, tensor_op_allow_conversion = 2, fma = 3 };
enum class Determinism : int { non_deterministic = 0, deterministic = 1 };
enum class Mode : int { cross_correlation = 1 };
enum class Nan : int { propagate = 1 };
enum class PoolingMode : int { average_exclude_padding = 2 };
enum class SoftmaxAlgorithm : int { accurate = 1, log = 2 };
enum class SoftmaxMode : int { instance = 0 };
enum class ActivationMode : int { sigmoid = 0, relu = 1, tanh = 2, elu = 4 };
enum class TensorOpMode : int { add = 0 };

/// One enumeration a direction; those that transform their operands (FFT, Winograd) have no row here.
enum class ForwardAlgorithm : int { implicit_gemm = 0, implicit_precomp_gemm = 1, gemm = 2, direct = 3 };
enum class DataAlgorithm : int { scatter = 0, gemm = 1 };
enum class FilterAlgorithm : int { atomics = 0, gemm = 1, atomics_precomp = 3 };

/// cudnnConvolution{Fwd,BwdData,BwdFilter}AlgoPerf_t, which differ in their first member's name only.
struct Performance {
  int algorithm;
  Status status;
  float time;
  std::size_t memory;
  Determinism determinism;
  MathType math;
  int reserved[3];
};

// X(name behind "cudnn", result, arguments)
#define TENON_CUDNN_FUNCTIONS(X)                                                                                     \
  X(GetVersion, std::size_t, ())                                                                                     \
  X(GetErrorString, const char*, (Status))                                                                           \
  X(Create, Status, (Handle*))                                                                                       \
  X(Destroy, Status, (Handle))                                                                                       \
  X(SetStream, Status, (Handle, Stream))                                                                             \
  X(CreateTensorDescriptor, Status, (Tensor*))                                                                       \
  X(SetTensor4dDescriptor, Status, (Tensor, Format, DataType, int n, int c, int h, int w))                           \
  X(DestroyTensorDescriptor, Status, (Tensor))                                                                       \
  X(CreateFilterDescriptor, Status, (Filter*))                                                                       \
  X(SetFilter4dDescriptor, Status, (Filter, DataType, Format, int k, int c, int h, int w))                           \
  X(DestroyFilterDescriptor, Status, (Filter))                                                                       \
  X(CreateConvolutionDescriptor, Status, (Convolution*))                                                             \
  X(SetConvolution2dDescriptor, Status,                                                                              \
    (Convolution, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, Mode, DataType)) \
  X(SetConvolutionGroupCount, Status, (Convolution, int))                                                            \
  X(SetConvolutionMathType, Status, (Convolution, MathType))                                                         \
  X(DestroyConvolutionDescriptor, Status, (Convolution))                                                             \
  X(GetConvolutionForwardAlgorithm_v7, Status,                                                                       \
    (Handle, Tensor x, Filter, Convolution, Tensor y, int asked, int* returned, Performance*))                       \
  X(GetConvolutionBackwardDataAlgorithm_v7, Status,                                                                  \
    (Handle, Filter, Tensor gy, Convolution, Tensor gx, int asked, int* returned, Performance*))                     \
  X(GetConvolutionBackwardFilterAlgorithm_v7, Status,                                                                \
    (Handle, Tensor x, Tensor gy, Convolution, Filter, int asked, int* returned, Performance*))                      \
  X(GetConvolutionForwardWorkspaceSize, Status,                                                                      \
    (Handle, Tensor x, Filter, Convolution, Tensor y, ForwardAlgorithm, std::size_t*))                               \
  X(GetConvolutionBackwardDataWorkspaceSize, Status,                                                                 \
    (Handle, Filter, Tensor gy, Convolution, Tensor gx, DataAlgorithm, std::size_t*))                                \
  X(GetConvolutionBackwardFilterWorkspaceSize, Status,                                                               \
    (Handle, Tensor x, Tensor gy, Convolution, Filter, FilterAlgorithm, std::size_t*))                               \
  X(ConvolutionForward, Status,                                                                                      \
    (Handle, const void* alpha, Tensor, const void* x, Filter, const void* w, Convolution, ForwardAlgorithm,         \
     void* workspace, std::size_t, const void* beta, Tensor, void* y))                                               \
  X(ConvolutionBackwardData, Status,                                                                                 \
    (Handle, const void* alpha, Filter, const void* w, Tensor, const void* gy, Convolution, DataAlgorithm,           \
     void* workspace, std::size_t, const void* beta, Tensor, void* gx))                                              \
  X(ConvolutionBackwardFilter, Status,                                                                               \
    (Handle, const void* alpha, Tensor, const void* x, Tensor, const void* gy, Convolution, FilterAlgorithm,         \
     void* workspace, std::size_t, const void* beta, Filter, void* gw))                                              \
  X(ConvolutionBackwardBias, Status,                                                                                 \
    (Handle, const void* alpha, Tensor, const void* gy, const void* beta, Tensor, void* gb))                         \
  X(CreatePoolingDescriptor, Status, (Pooling*))                                                                     \
  X(SetPooling2dDescriptor, Status,                                                                                  \
    (Pooling, PoolingMode, Nan, int window_h, int window_w, int pad_h, int pad_w, int stride_h, int stride_w))       \
  X(DestroyPoolingDescriptor, Status, (Pooling))                                                                     \
  X(PoolingForward, Status,                                                                                          \
    (Handle, Pooling, const void* alpha, Tensor, const void* x, const void* beta, Tensor, void* y))                  \
  X(PoolingBackward, Status,                                                                                         \
    (Handle, Pooling, const void* alpha, Tensor, const void* y, Tensor, const void* gy, Tensor, const void* x,       \
     const void* beta, Tensor, void* gx))                                                                            \
  X(CreateActivationDescriptor, Status, (Activation*))                                                               \
  X(SetActivationDescriptor, Status, (Activation, ActivationMode, Nan, double))                                      \
  X(DestroyActivationDescriptor, Status, (Activation))                                                               \
  X(ActivationForward, Status,                                                                                       \
    (Handle, Activation, const void* alpha, Tensor, const void* x, const void* beta, Tensor, void* y))               \
  X(ActivationBackward, Status,                                                                                      \
    (Handle, Activation, const void* alpha, Tensor, const void* y, Tensor, const void* gy, Tensor, const void* x,    \
     const void* beta, Tensor, void* gx))                                                                            \
  X(SoftmaxForward, Status,                                                                                          \
    (Handle, SoftmaxAlgorithm, SoftmaxMode, const void* alpha, Tensor, const void* x, const void* beta, Tensor,      \
     void* y))                                                                                                       \
  X(SoftmaxBackward, Status,                                                                                         \
    (Handle, SoftmaxAlgorithm, SoftmaxMode, const void* alpha, Tensor, const void* y, Tensor, const void* gy,        \
     const void* beta, Tensor, void* gx))                                                                            \
  X(CreateOpTensorDescriptor, Status, (TensorOp*))                                                                   \
  X(SetOpTensorDescriptor, Status, (TensorOp, TensorOpMode, DataType, Nan))                                          \
  X(DestroyOpTensorDescriptor, Status, (TensorOp))                                                                   \
  X(OpTensor, Status,                                                                                                \
    (Handle, TensorOp, const void* alpha, Tensor, const void* a, const void* alpha2, Tensor, const void* b,          \
     const void* beta, Tensor, void* c))

/// The library, as pointers to its functions.
struct Functions {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration
#define TENON_MEMBER_OF(name, result, arguments) result(*name) arguments = nullptr;
  TENON_CUDNN_FUNCTIONS(TENON_MEMBER_OF)
#undef TENON_MEMBER_OF
};

}  // namespace cudnn

namespace cublas {

using Handle = struct BlasHandleTag*;
using Stream = CUstream_st*;

enum class Status : int { success = 0 };
enum class Property : int { major_version = 0 };
enum class Operation : int { none = 0, transpose = 1 };
enum class DataType : int { f32 = 0 };
enum class ComputeType : int { f32_pedantic = 69, f32_fast_tf32 = 77 };
enum class Algorithm : int { automatic = -1 };

// X(name behind "cublas", result, arguments)
#define TENON_CUBLAS_FUNCTIONS(X)                                                                                \
  X(GetProperty, Status, (Property, int*))                                                                       \
  X(GetStatusString, const char*, (Status))                                                                      \
  X(Create_v2, Status, (Handle*))                                                                                \
  X(Destroy_v2, Status, (Handle))                                                                                \
  X(SetStream_v2, Status, (Handle, Stream))                                                                      \
  X(SetWorkspace_v2, Status, (Handle, void*, std::size_t))                                                       \
  X(GemmEx, Status,                                                                                              \
    (Handle, Operation, Operation, int m, int n, int k, const void* alpha, const void* a, DataType, int lda,     \
     const void* b, DataType, int ldb, const void* beta, void* c, DataType, int ldc, ComputeType, Algorithm))    \
  X(Sgeam, Status,                                                                                               \
    (Handle, Operation, Operation, int m, int n, const float* alpha, const float* a, int lda, const float* beta, \
     const float* b, int ldb, float* c, int ldc))

struct Functions {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration
#define TENON_MEMBER_OF(name, result, arguments) result(*name) arguments = nullptr;
  TENON_CUBLAS_FUNCTIONS(TENON_MEMBER_OF)
#undef TENON_MEMBER_OF
};

}  // namespace cublas

}  // namespace tenon::cuda
