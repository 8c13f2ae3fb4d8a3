// The loops of the provider cuda.tenon: one function an operation, host code that starts kernels on the call's stream.
// Operands, workspace and control block lie in the device's memory; geometry is read on the host and crosses by value.
#pragma once
#include "kernels/common/loops.hpp"

namespace tenon::cuda {

#define TENON_DECLARE(name) void name(const Call&);
TENON_LOOPS(TENON_DECLARE)
#undef TENON_DECLARE

extern const Loops loops;

}  // namespace tenon::cuda
