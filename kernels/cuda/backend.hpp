// CUDA devices as backends, by way of the module (module.hpp), which is opened when the first of them is asked for.
#pragma once
#include "tenon/backend.hpp"

namespace tenon::cuda {

/// Throws DeviceError with the reason where it cannot be used: no module, no driver, no such device, ...
[[nodiscard]] Backend& device_backend(int ordinal);

}  // namespace tenon::cuda
