// What launches ask of the device memory.
#pragma once

namespace tenon::cuda::emulation {

/// Throws EmulationError if bytes beside an allocation have changed (AddressSanitizer sees that itself).
void check_guards();

}  // namespace tenon::cuda::emulation
