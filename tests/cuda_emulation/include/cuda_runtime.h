// What the kernels and the CUDA backend include as <cuda_runtime.h> when there is no CUDA: qualifiers that mean
// nothing, vector types, the words of device code and a runtime. See tests/cuda_emulation/README.md.
#pragma once
#ifndef TENON_CUDA_EMULATION
#error "the emulated cuda_runtime.h needs -DTENON_CUDA_EMULATION"
#endif

#include "tests/cuda_emulation/atomics.hpp"
#include "tests/cuda_emulation/math_words.hpp"
#include "tests/cuda_emulation/qualifiers.hpp"
#include "tests/cuda_emulation/runtime.hpp"
#include "tests/cuda_emulation/vectors.hpp"
#include "tests/cuda_emulation/words.hpp"
