// The fakes as a test program finds them.
#pragma once
#include <dlfcn.h>

#include <string>

#include "tests/cuda_libraries/fake.hpp"

namespace tenon::tests {

inline const std::string fake_cudnn_path = TENON_FAKE_CUDNN, fake_cublas_path = TENON_FAKE_CUBLAS;

/// What a fake keeps, the same for every device that opens it.
inline fake::Fake& fake_of(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  return *reinterpret_cast<fake::Entry>(dlsym(library, "tenon_fake"))();
}
inline fake::Fake& dnn() { return fake_of(fake_cudnn_path); }
inline fake::Fake& blas() { return fake_of(fake_cublas_path); }

}  // namespace tenon::tests
