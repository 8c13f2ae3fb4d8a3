// libraries_api.hpp against NVIDIA's own headers, where they are installed. Nothing is left of this file in the module.
#include "kernels/cuda/libraries_api.hpp"

#if !defined(TENON_CUDA_EMULATION) && __has_include(<cudnn.h>) && __has_include(<cublas_v2.h>)
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <cublas_v2.h>
#include <cudnn.h>

#include <type_traits>

namespace tenon::cuda {
namespace {

/// How a parameter travels: enumerations as int, all pointers alike.
template <class T>
consteval char passed_as() {
  if constexpr (std::is_pointer_v<T>) return 'p';
  if constexpr (std::is_enum_v<T> || std::is_same_v<T, int>) return sizeof(T) == 4 ? 'i' : '?';
  if constexpr (std::is_same_v<T, std::size_t>) return 'z';
  if constexpr (std::is_same_v<T, double>) return 'd';
  return '?';
}
template <char... Letters>
struct Signature {};
template <class Result, class... Arguments>
Signature<passed_as<Result>(), passed_as<Arguments>()...> signature(Result (*)(Arguments...)) {
  return {};
}

#define TENON_SAME(name, result, arguments) \
  static_assert(std::is_same_v<decltype(signature(cudnn::Functions{}.name)), decltype(signature(&cudnn##name))>);
TENON_CUDNN_FUNCTIONS(TENON_SAME)
#undef TENON_SAME

/// cublas_api.h overloads it for C++.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                  const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                                  cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
constexpr GemmEx cublas_gemm_ex = &cublasGemmEx;
#define TENON_SAME(mine, theirs) \
  static_assert(std::is_same_v<decltype(signature(cublas::Functions{}.mine)), decltype(signature(theirs))>)
TENON_SAME(GetProperty, &cublasGetProperty);
TENON_SAME(GetStatusString, &cublasGetStatusString);
TENON_SAME(Create_v2, &cublasCreate_v2);
TENON_SAME(Destroy_v2, &cublasDestroy_v2);
TENON_SAME(SetStream_v2, &cublasSetStream_v2);
TENON_SAME(SetWorkspace_v2, &cublasSetWorkspace_v2);
TENON_SAME(GemmEx, cublas_gemm_ex);
TENON_SAME(Sgeam, &cublasSgeam);
#undef TENON_SAME

template <class Mine, class Theirs>
consteval bool same(Mine mine, Theirs theirs) {
  return static_cast<int>(mine) == static_cast<int>(theirs);
}
static_assert(same(cudnn::Status::success, CUDNN_STATUS_SUCCESS));
static_assert(same(cudnn::DataType::f32, CUDNN_DATA_FLOAT));
static_assert(same(cudnn::Format::nhwc, CUDNN_TENSOR_NHWC));
static_assert(same(cudnn::MathType::default_math, CUDNN_DEFAULT_MATH));
static_assert(same(cudnn::MathType::tensor_op, CUDNN_TENSOR_OP_MATH));
static_assert(same(cudnn::MathType::tensor_op_allow_conversion, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION));
static_assert(same(cudnn::MathType::fma, CUDNN_FMA_MATH));
static_assert(same(cudnn::Determinism::non_deterministic, CUDNN_NON_DETERMINISTIC));
static_assert(same(cudnn::Determinism::deterministic, CUDNN_DETERMINISTIC));
static_assert(same(cudnn::Mode::cross_correlation, CUDNN_CROSS_CORRELATION));
static_assert(same(cudnn::Nan::propagate, CUDNN_PROPAGATE_NAN));
static_assert(same(cudnn::PoolingMode::average_exclude_padding, CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING));
static_assert(same(cudnn::SoftmaxAlgorithm::accurate, CUDNN_SOFTMAX_ACCURATE));
static_assert(same(cudnn::SoftmaxAlgorithm::log, CUDNN_SOFTMAX_LOG));
static_assert(same(cudnn::SoftmaxMode::instance, CUDNN_SOFTMAX_MODE_INSTANCE));
static_assert(same(cudnn::ActivationMode::sigmoid, CUDNN_ACTIVATION_SIGMOID));
static_assert(same(cudnn::ActivationMode::relu, CUDNN_ACTIVATION_RELU));
static_assert(same(cudnn::ActivationMode::tanh, CUDNN_ACTIVATION_TANH));
static_assert(same(cudnn::ActivationMode::elu, CUDNN_ACTIVATION_ELU));
static_assert(same(cudnn::TensorOpMode::add, CUDNN_OP_TENSOR_ADD));
static_assert(same(cudnn::ForwardAlgorithm::implicit_gemm, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM));
static_assert(same(cudnn::ForwardAlgorithm::implicit_precomp_gemm, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM));
static_assert(same(cudnn::ForwardAlgorithm::gemm, CUDNN_CONVOLUTION_FWD_ALGO_GEMM));
static_assert(same(cudnn::ForwardAlgorithm::direct, CUDNN_CONVOLUTION_FWD_ALGO_DIRECT));
static_assert(same(cudnn::DataAlgorithm::scatter, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0));
static_assert(same(cudnn::DataAlgorithm::gemm, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1));
static_assert(same(cudnn::FilterAlgorithm::atomics, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0));
static_assert(same(cudnn::FilterAlgorithm::gemm, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1));
static_assert(same(cudnn::FilterAlgorithm::atomics_precomp, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3));
static_assert(same(cublas::Status::success, CUBLAS_STATUS_SUCCESS));
static_assert(same(cublas::Property::major_version, MAJOR_VERSION));
static_assert(same(cublas::Operation::none, CUBLAS_OP_N));
static_assert(same(cublas::Operation::transpose, CUBLAS_OP_T));
static_assert(same(cublas::DataType::f32, CUDA_R_32F));
static_assert(same(cublas::ComputeType::f32_pedantic, CUBLAS_COMPUTE_32F_PEDANTIC));
static_assert(same(cublas::ComputeType::f32_fast_tf32, CUBLAS_COMPUTE_32F_FAST_TF32));
static_assert(same(cublas::Algorithm::automatic, CUBLAS_GEMM_DEFAULT));

template <class Theirs>
consteval bool same_performance() {
  using Mine = cudnn::Performance;
  return std::is_same_v<decltype(Mine::time), decltype(Theirs::time)> && sizeof(Mine) == sizeof(Theirs) &&
         offsetof(Mine, algorithm) == offsetof(Theirs, algo) && offsetof(Mine, status) == offsetof(Theirs, status) &&
         offsetof(Mine, time) == offsetof(Theirs, time) && offsetof(Mine, memory) == offsetof(Theirs, memory) &&
         offsetof(Mine, determinism) == offsetof(Theirs, determinism) &&
         offsetof(Mine, math) == offsetof(Theirs, mathType);
}
static_assert(same_performance<cudnnConvolutionFwdAlgoPerf_t>());
static_assert(same_performance<cudnnConvolutionBwdDataAlgoPerf_t>());
static_assert(same_performance<cudnnConvolutionBwdFilterAlgoPerf_t>());

}  // namespace
}  // namespace tenon::cuda
#endif
