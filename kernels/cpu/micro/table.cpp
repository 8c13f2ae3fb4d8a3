// The table of this instruction set: the only thing that leaves the object library.
#include "kernels/cpu/micro/micro.hpp"
#include "kernels/cpu/micro/simd.hpp"

#define TENON_TEXT_(x) #x
#define TENON_TEXT(x) TENON_TEXT_(x)

namespace tenon::cpu::TENON_ISA {

#ifdef __FMA__
constexpr bool has_fma = true;
#else
constexpr bool has_fma = false;
#endif

extern const Microkernels table;
const Microkernels table{.provider = "cpu." TENON_TEXT(TENON_ISA),
                         .width = width,
                         .canonical = has_fma,
#define TENON_ENTRY(name) .name = name,
                         TENON_MICROKERNELS(TENON_ENTRY)
#undef TENON_ENTRY
};

}  // namespace tenon::cpu::TENON_ISA
