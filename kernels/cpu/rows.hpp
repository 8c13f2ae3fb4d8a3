// How the rows of one instruction set come together: each family appends its own, in one explicit list
// (kernels/cpu/kernels.cpp).
#pragma once
#include "kernels/cpu/micro/micro.hpp"

namespace tenon::cpu {

/// All of the families below.
void append_rows(KernelTable&, const Microkernels&);

void append_contraction_rows(KernelTable&, const Microkernels&);
void append_pointwise_rows(KernelTable&, const Microkernels&);
void append_row_rows(KernelTable&, const Microkernels&);  // softmax and its family: work on rows of a matrix
void append_pool_rows(KernelTable&, const Microkernels&);
void append_shape_rows(KernelTable&, const Microkernels&);
void append_update_rows(KernelTable&, const Microkernels&);

/// The table of the row's instruction set.
inline const Microkernels& micro(const Kernel& row) { return *static_cast<const Microkernels*>(row.impl); }

template <class Op>
Kernel row(const Microkernels& m, Bound (*bind)(const Problem&, const Kernel&), Edges edges = {}) {
  return {op::kind_of<Op>, m.provider, m.canonical, false, edges, bind, &m};
}

}  // namespace tenon::cpu
