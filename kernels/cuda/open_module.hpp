// Finding and opening the CUDA module.
#pragma once
#include <string>

#include "kernels/cuda/module.hpp"

namespace tenon::cuda {

inline constexpr const char* module_file = "tenon_cuda.so";

/// The module of the first folder that has one: TENON_MODULE_PATH, then lib/tenon beside the folder of the program, then where
/// the library was installed; never the working folder. Throws DeviceError that says where it was looked for, or why it cannot
/// be used. It stays open until the program ends.
[[nodiscard]] const Module& open_module();

/// The check that open_module() makes, for a module that was opened otherwise. `path` is for the message.
void check_module(const Module*, const std::string& path);

}  // namespace tenon::cuda
