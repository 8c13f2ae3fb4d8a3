// The table of the provider cuda.tenon.
#include "kernels/cuda/loops.hpp"

namespace tenon::cuda {

const Loops loops{.provider = "cuda.tenon",
                  .width = 4,
                  .canonical = true,
#define TENON_ENTRY(name) .name = name,
                  TENON_LOOPS(TENON_ENTRY)
#undef TENON_ENTRY
};

}  // namespace tenon::cuda
