// The rows of one instruction set: its contractions, then what every provider has.
#include "kernels/cpu/rows.hpp"

namespace tenon::cpu {

void append_rows(KernelTable& table, const Microkernels& m) {
  append_contraction_rows(table, m);
  bind::append_rows(table, m);
}

}  // namespace tenon::cpu
