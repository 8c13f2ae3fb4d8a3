// Opens cuDNN and cuBLAS by dlopen and makes their handles.
#include "kernels/cuda/libraries.hpp"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace tenon::cuda {
namespace {

constexpr std::size_t oldest_cudnn = 90000;
constexpr int oldest_cublas = 12;

/// The names that are tried, in order. What the user names by path is not replaced by something else.
struct Names {
  const char* library;   // "cuDNN"
  const char* variable;  // "TENON_CUDNN_LIBRARY"
  const char* names[2];
};
constexpr Names cudnn_names{"cuDNN", "TENON_CUDNN_LIBRARY", {"libcudnn.so.9", nullptr}};
constexpr Names cublas_names{"cuBLAS", "TENON_CUBLAS_LIBRARY", {"libcublas.so.13", "libcublas.so.12"}};

/// Never closed again: a process that has used them cannot unload them safely.
void* open_library(const Names& n, Text* why) {
  if (const char* path = std::getenv(n.variable); path != nullptr && *path != '\0') {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) refuse(why, "%s: %s", n.library, dlerror());
    return library;
  }
  for (const char* name : n.names) {
    if (name == nullptr) continue;
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
    const char* error = dlerror();
    // A library that is there and does not load says what it lacks: that is the reason then.
    const std::size_t length = std::strlen(name);
    if (std::strncmp(error, name, length) != 0 || std::strstr(error, "No such file") == nullptr) {
      refuse(why, "%s: %s", n.library, error);
      return nullptr;
    }
  }
  refuse(why, "%s: %s is not installed", n.library, n.names[0]);
  return nullptr;
}

template <class Function>
bool find(void* library, const char* name, Function*& function, const char* of, Text* why) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr || refuse(why, "%s: the library has no %s", of, name);
}

bool open_cudnn(cudnn::Functions& f, Text* why) {
  void* library = open_library(cudnn_names, why);
  if (library == nullptr) return false;
  // The version first: it explains best why a function is not there.
  if (!find(library, "cudnnGetVersion", f.GetVersion, cudnn_names.library, why)) return false;
  if (const std::size_t version = f.GetVersion(); version < oldest_cudnn)
    return refuse(why, "cuDNN: expected version %zu or newer, found %zu", oldest_cudnn, version);
#define TENON_FIND(name, result, arguments) \
  if (!find(library, "cudnn" #name, f.name, cudnn_names.library, why)) return false;
  TENON_CUDNN_FUNCTIONS(TENON_FIND)
#undef TENON_FIND
  return true;
}

bool open_cublas(cublas::Functions& f, Text* why) {
  void* library = open_library(cublas_names, why);
  if (library == nullptr) return false;
#define TENON_FIND(name, result, arguments) \
  if (!find(library, "cublas" #name, f.name, cublas_names.library, why)) return false;
  TENON_CUBLAS_FUNCTIONS(TENON_FIND)
#undef TENON_FIND
  int major = 0;
  if (f.GetProperty(cublas::Property::major_version, &major) != cublas::Status::success || major < oldest_cublas)
    return refuse(why, "cuBLAS: expected version %d or newer, found %d", oldest_cublas, major);
  return true;
}

void remember(Libraries& l, const char* call, const char* text) {
  if (l.failed) return;
  l.failed = true;
  refuse(&l.failure, "%s: %s", call, text);
}

}  // namespace

bool refuse(Text* why, const char* format, ...) {
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(why->text, sizeof why->text, format, values);
  va_end(values);
  return false;
}

bool Libraries::ran(cudnn::Status s, const char* call) {
  if (s == cudnn::Status::success) return true;
  remember(*this, call, dnn.GetErrorString(s));
  return false;
}
bool Libraries::ran(cublas::Status s, const char* call) {
  if (s == cublas::Status::success) return true;
  remember(*this, call, blas.GetStatusString(s));
  return false;
}

Libraries* open_libraries(std::int32_t ordinal) {
  auto* l = new (std::nothrow) Libraries;
  if (l == nullptr) return nullptr;
  l->ordinal = ordinal;
  Text dnn, blas;
  l->has_dnn = open_cudnn(l->dnn, &dnn);
  l->has_blas = open_cublas(l->blas, &blas);
  std::snprintf(l->missing.text, sizeof l->missing.text, "%.118s%s%.118s", dnn.text,
                l->has_dnn || l->has_blas ? "" : "; ", blas.text);
  return l;
}

void close_libraries(Libraries* l) {
  if (l == nullptr) return;
  if (l->dnn_handle != nullptr || l->blas_handle != nullptr) (void)cudaSetDevice(l->ordinal);
  if (l->dnn_handle != nullptr) (void)l->dnn.Destroy(l->dnn_handle);
  if (l->blas_handle != nullptr) (void)l->blas.Destroy_v2(l->blas_handle);
  delete l;
}

bool have_handles(Libraries& l, bool dnn, bool blas, Text* why) {
  const std::lock_guard lock(l.mutex);
  if (cudaSetDevice(l.ordinal) != cudaSuccess) return refuse(why, "device %d cannot be selected", l.ordinal);
  if (dnn && l.dnn_handle == nullptr)
    if (const cudnn::Status s = l.dnn.Create(&l.dnn_handle); s != cudnn::Status::success) {
      l.dnn_handle = nullptr;
      return refuse(why, "cudnnCreate: %s", l.dnn.GetErrorString(s));
    }
  if (blas && l.blas_handle == nullptr)
    if (const cublas::Status s = l.blas.Create_v2(&l.blas_handle); s != cublas::Status::success) {
      l.blas_handle = nullptr;
      return refuse(why, "cublasCreate: %s", l.blas.GetStatusString(s));
    }
  return true;
}

cudnn::Status make_tensor(const Libraries& l, Descriptor<cudnn::Tensor>& t, std::int64_t n, std::int64_t h,
                          std::int64_t w, std::int64_t c) {
  return t.make(l.dnn.CreateTensorDescriptor, l.dnn.DestroyTensorDescriptor, l.dnn.SetTensor4dDescriptor,
                cudnn::Format::nhwc, cudnn::DataType::f32, static_cast<int>(n), static_cast<int>(c),
                static_cast<int>(h), static_cast<int>(w));
}

bool takes_operands(const Problem& p, Text* why) {
  const auto takes = [why](const TensorSpec& spec) {
    if (spec.dtype != DType::f32) return refuse(why, "takes f32 only, found another type");
    const std::int64_t elements = extents(spec, 0, spec.shape.rank());
    if (elements == 0) return refuse(why, "takes no empty operand, found one");
    return elements <= std::numeric_limits<int>::max() ||
           refuse(why, "takes fewer than 2^31 elements, found %lld", static_cast<long long>(elements));
  };
  for (int i = 0; i < p.ins; ++i)
    if (!takes(p.in[i])) return false;
  for (int i = 0; i < p.outs; ++i)
    if (!takes(p.out[i])) return false;
  return true;
}

}  // namespace tenon::cuda
