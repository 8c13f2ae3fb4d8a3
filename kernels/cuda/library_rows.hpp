// Rows that are cuDNN's and cuBLAS' kernels. Both libraries are opened at run time, each is optional.
#pragma once
#include "kernels/cuda/module.hpp"

namespace tenon::cuda {

/// Module::library_rows.
std::int32_t library_rows(Device*, const LibraryRow**, Text* missing);
void close_libraries(Device*);

/// A run has no result: what failed first since the last call, and true. False where nothing did.
bool take_library_failure(Device*, Text*);

}  // namespace tenon::cuda
