// The rows of one instruction set, family by family: the one list to which a kernel of the CPU is added.
#include "kernels/cpu/rows.hpp"

namespace tenon::cpu {

void append_rows(KernelTable& table, const Microkernels& m) {
  append_contraction_rows(table, m);
  append_pointwise_rows(table, m);
  append_row_rows(table, m);
  append_pool_rows(table, m);
  append_shape_rows(table, m);
  append_update_rows(table, m);
}

}  // namespace tenon::cpu
