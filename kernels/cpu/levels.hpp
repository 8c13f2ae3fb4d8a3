// The instruction sets that the micro files are compiled for, best first, as cmake/TenonIsa.cmake lists them with their
// machine flags: TENON_LEVELS(X) is X(name) for each. A level's rows belong to the provider `cpu.<name>`.
#pragma once

#if defined(__x86_64__)
#define TENON_LEVELS(X) X(avx512) X(avx2) X(baseline)
#elif defined(__aarch64__)
#define TENON_LEVELS(X) X(neon)
#else
#error "[levels] expected an x86-64 or AArch64 processor"
#endif
