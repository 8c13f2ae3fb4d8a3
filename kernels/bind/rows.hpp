// From a table of loops to kernel rows, family by family: the one list to which a kernel of any provider is added. What binds
// a problem here is the same for all providers, so an operation is as easily had on the GPU as on the CPU: one loop more in
// its table.
#pragma once
#include <initializer_list>

#include "kernels/common/loops.hpp"

namespace tenon::bind {

/// All of the families below. The table of loops must outlive the rows.
void append_rows(KernelTable&, const Loops&);

void append_pointwise_rows(KernelTable&, const Loops&);
void append_row_rows(KernelTable&, const Loops&);  // softmax and its family: work on rows of a matrix
void append_pool_rows(KernelTable&, const Loops&);
void append_shape_rows(KernelTable&, const Loops&);
void append_update_rows(KernelTable&, const Loops&);

/// The loops of the row's provider.
inline const Loops& loops(const Kernel& row) { return *static_cast<const Loops*>(row.impl); }

/// Appends the row of an operation, unless the provider has none of the `loops` that bind() chooses from: a row that
/// refuses every problem would only fill the messages. `impl` is what bind() finds in its row.
template <class Op>
void append(KernelTable& table, const Loops& m, const void* impl, std::initializer_list<RunFn> loops,
            Bound (*bind)(const Problem&, const Kernel&), Edges edges, Precision precision = Precision::fp32,
            Pieces pieces = Pieces::none) {
  for (const RunFn loop : loops) {
    if (loop == nullptr) continue;
    const bool canonical = m.canonical && precision == Precision::fp32;
    table.push_back({op::kind_of<Op>, m.provider, canonical, false, edges, bind, impl, precision, pieces});
    return;
  }
}
template <class Op>
void append(KernelTable& table, const Loops& m, std::initializer_list<RunFn> loops,
            Bound (*bind)(const Problem&, const Kernel&), Edges edges, Pieces pieces = Pieces::none) {
  append<Op>(table, m, &m, loops, bind, edges, Precision::fp32, pieces);
}

}  // namespace tenon::bind
