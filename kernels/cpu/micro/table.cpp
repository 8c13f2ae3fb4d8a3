// The tables of this instruction set, ours and Eigen's: all that leaves the object library.
#include "kernels/cpu/eigen_kernels.hpp"
#include "kernels/cpu/micro/team.hpp"

#define TENON_TEXT_(x) #x
#define TENON_TEXT(x) TENON_TEXT_(x)

namespace tenon::cpu::TENON_ISA {

extern const Microkernels table;
const Microkernels table{{.provider = "cpu." TENON_TEXT(TENON_ISA),
                          .width = width,
                          .canonical = has_fma,
#define TENON_ENTRY(name) .name = name,
                          TENON_LOOPS(TENON_ENTRY)
#undef TENON_ENTRY
                         },
                         tile_height,
#define TENON_ENTRY(name) name,
                         TENON_OWN_LOOPS(TENON_ENTRY)
#undef TENON_ENTRY
};

extern const EigenKernels eigen_table;
const EigenKernels eigen_table{.others =
                                   {
                                       .provider = "cpu.eigen",
                                       .width = width,
                                       .canonical = false,
#define TENON_ENTRY(name) .name = eigen_rows::name,
                                       TENON_SHARED_LOOPS(TENON_ENTRY).pointwise_chain = nullptr,
#undef TENON_ENTRY
                                   },
                               .product = eigen_rows::product,
                               .conv2d = eigen_rows::conv2d,
                               .conv2d_grad_input = eigen_rows::conv2d_grad_input,
                               .conv2d_grad_filter = eigen_rows::conv2d_grad_filter};

}  // namespace tenon::cpu::TENON_ISA
